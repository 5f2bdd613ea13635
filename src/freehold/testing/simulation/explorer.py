"""Runs a scenario with many seeds, and shrinks the faults of a run that fails. Testing: imports its package.

    report = simulate(Transfers, seeds=range(200))
    assert not report.unseen

A failing seed raises `SimulationFailure`, whose text is the story of the shortest run that still fails.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from freehold.ids import new_ids_from
from freehold.service import Service
from freehold.testing.simulation.faults import ALL_FAULTS, Fault, FaultKind, draw_faults
from freehold.testing.simulation.loop import VirtualLoop
from freehold.testing.simulation.world import World

__all__ = ["Scenario", "SimulationFailure", "SimulationReport", "SimulationRun", "simulate", "simulate_once"]

_SHRINKS_MAX: Final = 60
_STORY_LINES: Final = 40
_EPOCH_NS: Final = 1_767_225_600_000_000_000


class Scenario(ABC):
    """What a simulation runs: services, what their clients do, and what must hold afterwards. One object a run.

    seconds        the virtual time within which faults begin.
    quiet_seconds  the virtual time after the last fault within which all work must be done.
    instances      processes of a service; two where it is not named.
    faults         what may go wrong.
    settings       settings of all services, as for `Settings`.
    """

    seconds: float = 60.0
    quiet_seconds: float = 3600.0
    instances: Mapping[str, int] = {}
    faults: Collection[FaultKind] = ALL_FAULTS
    settings: Mapping[str, Any] = {}

    @abstractmethod
    def services(self) -> Sequence[Service]:
        """The services. They must need no port that a database in memory has not."""

    @abstractmethod
    async def work(self, world: World) -> None:
        """What clients do, while faults happen. Whatever it raises is a violation: expect `Unavailable`."""

    @abstractmethod
    async def check(self, world: World) -> None:
        """Raise `AssertionError` for what does not hold, once no work is in progress and no fault in force."""


@dataclass(frozen=True, slots=True)
class SimulationRun:
    """The outcome of one run.

    violation  what did not hold; empty for nothing.
    seconds    the virtual time that it took.
    digest     equal for equal runs.
    trace      what happened, a line for each event.
    """

    seed: int
    faults: Sequence[Fault]
    violation: str
    digest: str
    trace: Sequence[str] = field(repr=False)
    restarts: int = 0
    seen: Mapping[str, int] = field(default_factory=dict, repr=False)
    seconds: float = 0.0


class SimulationFailure(AssertionError):
    """A seed found a violation. `run` is the shortest run that fails in this way."""

    def __init__(self, run: SimulationRun, story: str) -> None:
        super().__init__(story)
        self.run = run


@dataclass(slots=True)
class SimulationReport:
    """What all seeds together did.

    seen    how often each state that `World.sometimes` names was seen.
    seconds the virtual time of all runs.
    faults  how often each kind of fault was drawn.
    """

    runs: int = 0
    restarts: int = 0
    seconds: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    faults: Counter[FaultKind] = field(default_factory=Counter)

    def add(self, run: SimulationRun) -> None:
        """Count a run."""
        self.runs += 1
        self.restarts += run.restarts
        self.seconds += run.seconds
        self.seen.update(run.seen)
        self.faults.update(each.kind for each in run.faults)

    @property
    def unseen(self) -> Collection[str]:
        """The states that no run has seen."""
        return sorted(name for name, number in self.seen.items() if not number)


def simulate(make: Callable[[], Scenario], seeds: Iterable[int] = range(100)) -> SimulationReport:
    """Run the scenario with each seed. Raises `SimulationFailure` for the first one that finds a violation."""
    report = SimulationReport()
    for seed in seeds:
        run = simulate_once(make, seed)
        if run.violation:
            shortest = _shrunk(make, run)
            raise SimulationFailure(shortest, _story(make, shortest))
        report.add(run)
    return report


def simulate_once(make: Callable[[], Scenario], seed: int, faults: Sequence[Fault] | None = None) -> SimulationRun:
    """Run the scenario once: the same seed with the same faults gives the same run. By default the seed draws them.

    Must not be called within an event loop.
    """
    scenario = make()
    services = scenario.services()
    processes = {
        each.name: [f"{each.name}/{number + 1}" for number in range(scenario.instances.get(each.name, 2))]
        for each in services
    }
    if faults is None:
        faults = draw_faults(seed, processes, seconds=scenario.seconds, kinds=scenario.faults)
    loop = VirtualLoop(random.Random(f"schedule of {seed}"))
    world = World(seed, loop, services, processes, scenario.settings)
    with _repeatable(seed, loop), world.failing_handlers():
        violation = loop.run(_run(scenario, world, faults))
    seen = dict(world.seen)
    return SimulationRun(seed, faults, violation, world.digest, world.trace, world.restarts, seen, loop.time())


async def _run(scenario: Scenario, world: World, faults: Sequence[Fault]) -> str:
    await world.start()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(scenario.work(world))
            group.create_task(world.suffer(faults))
        left = await world.quiet(scenario.quiet_seconds)
        if left:
            return f"not quiet after {scenario.quiet_seconds:g} s: {'; '.join(left)}"
        if ended := world.ended():
            return "; ".join(ended)
        await scenario.check(world)
    except BaseExceptionGroup as group_error:
        return "; ".join(f"{type(each).__name__}: {each}" for each in group_error.exceptions)
    except Exception as error:  # noqa: BLE001 - whatever a scenario raises is a finding
        return f"{type(error).__name__}: {error}"
    return ""


@contextmanager
def _repeatable(seed: int, loop: VirtualLoop) -> Iterator[None]:
    """Draw ids and random numbers from the seed, and write no logs."""
    state, ids = random.getstate(), random.Random(f"ids of {seed}")
    disabled = logging.root.manager.disable
    random.seed(f"jitter of {seed}")
    logging.disable(logging.CRITICAL)
    try:
        with new_ids_from(lambda: _EPOCH_NS + int(loop.time() * 1e9), ids.randbytes):
            yield
    finally:
        logging.disable(disabled)
        random.setstate(state)


def _shrunk(make: Callable[[], Scenario], run: SimulationRun) -> SimulationRun:
    """Leave out faults, and shorten them, as long as the run fails."""
    tries = 0
    changed = True
    while changed and tries < _SHRINKS_MAX:
        changed = False
        for faults in _simpler(run.faults):
            tries += 1
            found = simulate_once(make, run.seed, faults)
            if found.violation:
                run, changed = found, True
                break
            if tries >= _SHRINKS_MAX:
                break
    return run


def _simpler(faults: Sequence[Fault]) -> Iterator[Sequence[Fault]]:
    for index in range(len(faults)):
        yield [*faults[:index], *faults[index + 1 :]]
    for index, fault in enumerate(faults):
        if abs(fault.seconds) > 1.0:
            yield [*faults[:index], replace(fault, seconds=round(fault.seconds / 2, 3)), *faults[index + 1 :]]


def _story(make: Callable[[], Scenario], run: SimulationRun) -> str:
    name = getattr(make, "__qualname__", repr(make))
    faults = [f"  {each}" for each in run.faults] or ["  none: the order of the tasks alone"]
    return "\n".join(
        [
            f"seed {run.seed} of {name} fails: {run.violation}",
            "faults:",
            *faults,
            f"the last of {len(run.trace)} events:",
            *(f"  {line}" for line in run.trace[-_STORY_LINES:]),
            f"again: simulate({name}, seeds=[{run.seed}])",
        ]
    )
