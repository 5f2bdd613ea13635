"""An outage is told once when it begins, now and then while it lasts, and once when it ends: for all loops together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from freehold.errors import OperationTimeout, Unavailable
from freehold.failures import root_cause
from freehold.lifecycle import Runner, RunnerState
from freehold.outages import AGAIN_SECONDS, BROKER, Outages, on_behalf_of
from freehold.policy import Backoff
from freehold.testing import ManualClock

READ_ONLY = Unavailable("the database is read-only (SQLITE_READONLY)", hint="give back the right")


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "freehold")
    return lambda: [record.getMessage() for record in caplog.records]


def test_all_loops_of_a_service_have_one_line_for_each_thing(told: Callable[[], list[str]]) -> None:
    clock = ManualClock()
    outages = Outages("orders", clock)
    waits = [outages.wait_of(name) for name in ("relay orders", "orders.sagas", "leases outbox/")]
    broker = outages.wait_of("relay orders", BROKER)
    for _ in range(20):
        for wait in waits:
            wait.failed(READ_ONLY, again_seconds=2.0)
        broker.failed(Unavailable("NATS cannot be reached"), again_seconds=5.0)
    assert told() == [
        "orders: the database is read-only (SQLITE_READONLY); relay waits for the database and tries again every 2 s",
        "orders: NATS cannot be reached; relay waits for the broker and tries again every 5 s",
    ]
    clock.advance(12.0)
    for wait in waits[:2]:
        wait.over()
        wait.over()
    assert len(told()) == 2
    waits[2].over()
    broker.over()
    assert told()[2:] == [
        "orders: the database is back after 12.0 s; relay, sagas, leases outbox/ waited",
        "orders: the broker is back after 12.0 s; relay waited",
    ]
    assert not outages.why("database")


def test_a_stop_in_an_outage_does_not_say_that_it_is_over(told: Callable[[], list[str]]) -> None:
    clock = ManualClock()
    outages = Outages("orders", clock)
    waits = [outages.wait_of(name) for name in ("relay orders", "orders.sagas")]
    for wait in waits:
        wait.failed(READ_ONLY, again_seconds=2.0)
    clock.advance(3.0)
    for wait in waits:
        wait.given_up()
        wait.given_up()
    assert told()[1:] == [
        (
            "orders: the database is read-only (SQLITE_READONLY), for 3.0 s now; "
            "stopped while waiting for the database: relay, sagas; the next start continues"
        )
    ]
    assert not outages.why("database")


def test_a_long_outage_is_told_again_once_a_minute(told: Callable[[], list[str]]) -> None:
    clock = ManualClock()
    wait = Outages("orders", clock).wait_of("relay orders")
    for _ in range(130):
        wait.failed(READ_ONLY, again_seconds=2.0)
        clock.advance(1.0)
    assert [line.partition(")")[2] for line in told()[1:]] == [
        ", for 60 s now; waiting for the database: relay",
        ", for 120 s now; waiting for the database: relay",
    ]


def test_what_goes_to_and_fro_is_told_only_once_it_lasts(told: Callable[[], list[str]]) -> None:
    clock = ManualClock()
    wait = Outages("orders", clock).wait_of("relay orders")
    for _ in range(50):
        wait.failed(READ_ONLY, again_seconds=2.0)
        clock.advance(0.1)
        wait.over()
        clock.advance(0.1)
    assert len(told()) == 2
    for _ in range(int(AGAIN_SECONDS) + 2):
        wait.failed(READ_ONLY, again_seconds=2.0)
        clock.advance(1.0)
    wait.over()
    assert [line.partition(" waits")[0] for line in told()[2:]] == [
        "orders: the database is read-only (SQLITE_READONLY); relay",
        "orders: the database is back after 12.0 s; relay waited",
    ]


def test_an_outage_of_another_reason_is_told_at_once(told: Callable[[], list[str]]) -> None:
    wait = Outages("orders", ManualClock()).wait_of("relay orders")
    wait.failed(READ_ONLY, again_seconds=2.0)
    wait.over()
    wait.failed(OperationTimeout("the database did not answer within 2 s"), again_seconds=2.0)
    assert len(told()) == 3
    assert "did not answer within 2 s" in told()[-1]


class _Failing(Runner):
    """Fails as `how` says until that is None."""

    def __init__(self, name: str, how: Callable[[], Awaitable[None]] | None) -> None:
        super().__init__(name)
        self.how = how
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        while not self.stopping:
            if self.how is not None:
                await self.how()
            self.healthy()
            await self.wait(0.01)


async def _is_read_only() -> None:
    raise ExceptionGroup("workers", [READ_ONLY, ExceptionGroup("more", [Unavailable("something else")])])


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)


async def test_loops_share_the_lines_of_the_service_they_work_for(told: Callable[[], list[str]]) -> None:
    outages = Outages("orders")
    runners = [_Failing(f"{name} orders", _is_read_only) for name in ("relay", "consumer", "prune")]
    with on_behalf_of(outages):
        for runner in runners:
            await runner.start()
    await _until(lambda: all(runner.runs > 2 for runner in runners))
    assert told() == [
        "orders: the database is read-only (SQLITE_READONLY); relay waits for the database and tries again every 2 s"
    ]
    for runner in runners:
        runner.how = None
    await _until(lambda: all(runner.state is RunnerState.RUNNING for runner in runners))
    assert [line.partition(" after ")[0] for line in told()[1:]] == ["orders: the database is back"]
    for runner in runners:
        await runner.stop()


async def test_who_is_stopped_waits_no_more(told: Callable[[], list[str]]) -> None:
    outages = Outages("orders")
    runner = _Failing("relay orders", _is_read_only)
    with on_behalf_of(outages):
        await runner.start()
    await _until(lambda: bool(outages.why("database")))
    await runner.stop()
    assert not outages.why("database")


async def _has_a_bug() -> None:
    try:
        int("ada@example.org")
    except ValueError as error:
        raise KeyError("ada@example.org") from error


async def test_a_bug_has_its_stack_once_and_no_value(
    told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.lifecycle.RESTART", Backoff(0.01, 10.0))
    runner = _Failing("relay orders", _has_a_bug)
    with on_behalf_of(Outages("orders")):
        await runner.start()
    await _until(lambda: runner.runs > 3)
    await runner.stop()
    first, second = told()
    assert first.startswith("orders: relay failed (KeyError in _has_a_bug, ")
    assert first.endswith("; restarts in 0.0 s")
    assert second.startswith("orders: relay failed here:\n")
    assert "ValueError" in second
    assert 'int("' in second  # the line of code
    assert "'ada@example.org'" not in second  # the text of the error


def test_of_a_group_the_one_that_is_no_outage_is_told() -> None:
    bug = ValueError()
    assert root_cause(ExceptionGroup("several", [READ_ONLY, ExceptionGroup("more", [bug])])) is bug
    assert root_cause(ExceptionGroup("several", [READ_ONLY, Unavailable("else")])) is READ_ONLY
