"""The simulation itself, and a share of its seeds: the same seed gives the same run, and planted bugs are found."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from contextvars import copy_context

import pytest
from tests.faults.simulated.scenarios import SCENARIOS, Checkouts, Counting

from freehold.adapters.memory.state import MemoryTransaction
from freehold.testing import Fault, FaultKind, Scenario, SimulationFailure, World, simulate, simulate_once
from freehold.testing.simulation.loop import PROCESS, SimulatedProcess, Stuck, VirtualLoop

_SEEDS = -(-200 // len(SCENARIOS))


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_violated(name: str) -> None:
    """Over all scenarios 200 seeds. Thousands: `python -m tests.faults simulate`."""
    report = simulate(SCENARIOS[name], range(_SEEDS))
    assert report.runs == _SEEDS
    assert report.restarts
    assert report.seen["a client does not know the outcome"]


def test_the_same_seed_gives_the_same_run_event_by_event() -> None:
    first, second = (simulate_once(Checkouts, 3) for _ in range(2))
    assert first.trace == second.trace
    assert first.digest == second.digest
    assert simulate_once(Checkouts, 4).digest != first.digest


def test_the_order_of_sets_changes_no_run() -> None:
    """Each interpreter hashes texts in its own way."""
    program = "from tests.faults.test_simulation import *; print(simulate_once(Checkouts, 5).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_consumer_survives_a_broker_that_goes_away_while_it_leaves_its_group() -> None:
    """Its loop ended for good where the database and then the broker were away: the group of tasks that released the
    partitions left a request for cancellation behind each time that it failed.
    """
    faults = [
        Fault(FaultKind.DATABASE_AWAY, "parcels", 10.917, 6.6),
        Fault(FaultKind.BROKER_AWAY, "", 16.802, 6.7),
    ]
    assert simulate_once(Checkouts, 5, faults).violation == ""


def test_a_commit_of_half_a_transaction_is_found_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = MemoryTransaction.commit

    def half(self: MemoryTransaction) -> None:
        self._rows.pop("outbox", None)
        commit(self)

    monkeypatch.setattr(MemoryTransaction, "commit", half)
    failure = _found(Counting)
    assert failure.run.faults == []
    assert "none: the order of the tasks alone" in str(failure)
    assert "again: simulate(Counting, seeds=[0])" in str(failure)


def _found(scenario: type[Scenario], seeds: int = 40) -> SimulationFailure:
    with pytest.raises(SimulationFailure) as caught:
        simulate(scenario, range(seeds))
    return caught.value


def test_what_never_ends_is_a_violation() -> None:
    class Endless(Counting):
        quiet_seconds = 30.0

        async def check(self, world: World) -> None:
            raise AssertionError("not reached")

    faults = [Fault(FaultKind.HANDLER_FAILS, "target", 0.0, 1.0)]
    patient = simulate_once(Counting, 1, faults)
    assert patient.violation == ""
    assert simulate_once(Endless, 1, faults).violation == "AssertionError: not reached"


def test_a_crashed_process_runs_not_even_its_finally_blocks() -> None:
    done: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(1.0)
            done.append(f"{name} worked")
        finally:
            done.append(f"{name} ended")

    async def main(loop: VirtualLoop) -> list[str]:
        crashing, frozen, other = (SimulatedProcess(name, loop.crash) for name in ("crashing", "frozen", "other"))
        for process in (crashing, frozen, other):
            _spawn(loop, process, work(process.name))
        crashing.crash_after = 2
        await asyncio.sleep(0.5)
        loop.freeze(frozen)
        await asyncio.sleep(5.0)
        assert done == ["other worked", "other ended"]
        loop.thaw(frozen)
        await asyncio.sleep(0.001)
        return list(done)

    loop = VirtualLoop(random.Random(1))
    assert loop.run(main(loop)) == ["other worked", "other ended", "frozen worked", "frozen ended"]


def test_tasks_that_wait_for_each_other_are_told() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        VirtualLoop(random.Random(1)).run(main())


def _spawn(loop: VirtualLoop, process: SimulatedProcess, work: object) -> None:
    context = copy_context()
    context.run(PROCESS.set, process)
    loop.create_task(work, context=context)  # type: ignore[arg-type] # a coroutine
