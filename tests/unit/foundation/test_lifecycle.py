"""One way to start, stop, drain and cancel for every loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from freehold import lifecycle
from freehold.errors import Unavailable
from freehold.lifecycle import Runner, RunnerState, start_all, stop_all
from freehold.tasks import first_of
from freehold.testing import ManualClock


class Counting(Runner):
    """Counts rounds, fails when told to, and can be stuck."""

    def __init__(self) -> None:
        super().__init__("counting")
        self.rounds = 0
        self.begun = asyncio.Event()
        self.failures = 0
        self.stuck = False
        self.cancelled = False

    async def run(self) -> None:
        while not self.stopping:
            self.rounds += 1
            self.begun.set()
            if self.failures:
                self.failures -= 1
                raise RuntimeError("planned")
            self.healthy()
            if self.stuck:
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled = True
            await self.wait(60)


async def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.005)


async def test_a_wake_ends_the_wait_and_a_stop_too() -> None:
    runner = Counting()
    await runner.start()
    await runner.begun.wait()
    runner.wake()
    await _until(lambda: runner.rounds == 2)
    await runner.stop()
    assert (runner.state, runner.rounds) == (RunnerState.STOPPED, 2)


class Resting(Counting):
    """Rests between its rounds, and waits after each second one."""

    async def run(self) -> None:
        while not self.stopping:
            self.rounds += 1
            self.begun.set()
            await self.rest(3600)
            await self.wait(3600)


async def test_a_stop_ends_a_rest_and_a_wake_the_wait_behind_it() -> None:
    clock = ManualClock()
    runner = Resting()
    runner.clock = clock
    await runner.start()
    await runner.begun.wait()
    runner.wake()
    await asyncio.sleep(0)
    clock.advance(3600)
    await _until(lambda: runner.rounds == 2)
    async with asyncio.timeout(60):
        await runner.stop(600.0)
    assert (runner.state, runner.rounds) == (RunnerState.STOPPED, 2)


class Idling(Counting):
    """Waits for a moment between its rounds."""

    async def run(self) -> None:
        while not self.stopping:
            self.rounds += 1
            await self.wait(0.001)


async def test_to_idle_takes_no_task_and_to_be_woken_neither() -> None:
    made: list[object] = []

    def count(loop: asyncio.AbstractEventLoop, work: Any, **given: Any) -> asyncio.Task[Any]:
        made.append(work)
        return asyncio.Task(work, loop=loop, **given)

    runner = Idling()
    await runner.start()
    asyncio.get_running_loop().set_task_factory(count)
    try:
        await _until(lambda: runner.rounds >= 3)
        runner.wake()
        await _until(lambda: runner.rounds >= 5)
    finally:
        asyncio.get_running_loop().set_task_factory(None)
        await runner.stop()
    assert made == []


class Restless(Counting):
    """Wakes itself in every round."""

    async def run(self) -> None:
        while not self.stopping:
            self.rounds += 1
            self.wake()
            await self.wait(3600)


async def test_a_loop_that_is_woken_in_every_round_lets_others_run() -> None:
    runner = Restless()
    await runner.start()
    await _until(lambda: runner.rounds >= 3)
    await runner.stop()
    assert runner.state is RunnerState.STOPPED


async def test_a_cancellation_while_it_idles_ends_the_loop() -> None:
    runner = Counting()
    await runner.start()
    await runner.begun.wait()
    task = runner._task
    assert task is not None
    task.cancel()
    await _until(task.done)
    assert (task.cancelled(), runner.state) == (True, RunnerState.ENDED)


class Miscounting(Counting):
    """Has a count to correct, and corrects it once the database is there."""

    def __init__(self) -> None:
        super().__init__()
        self.away = asyncio.Event()
        self.releases = 0

    @property
    def pending_correction(self) -> str:
        return "a count" if self.releases == 0 or not self.away.is_set() else ""

    async def release(self) -> None:
        self.releases += 1
        if not self.away.is_set():
            raise Unavailable("the database is away")


async def test_a_stop_waits_until_a_count_is_corrected_and_logs_one_that_was_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "freehold")
    patient, impatient = Miscounting(), Miscounting()
    for each in (patient, impatient):
        await each.start()
    stopping = asyncio.create_task(patient.stop(60.0))
    await _until(lambda: patient.releases >= 1)
    patient.away.set()
    await stopping
    assert patient.pending_correction == ""
    await impatient.stop(0.3)
    told = [record.getMessage() for record in caplog.records]
    assert "counting: stopped before a count was corrected: one attempt too many is counted" in told
    assert "counting: the database is back after" in " ".join(told)


async def test_a_wake_before_the_wait_is_not_lost() -> None:
    runner = Counting()
    await runner.start()
    runner.wake()
    await _until(lambda: runner.rounds == 2)
    await runner.stop()


async def test_a_failing_loop_restarts_and_tells_its_error() -> None:
    runner = Counting()
    runner.failures = 2
    await runner.start()
    await _until(lambda: runner.rounds == 3)
    await _until(lambda: runner.state is RunnerState.RUNNING)
    assert isinstance(runner.last_error, RuntimeError)
    await runner.stop()


async def test_a_loop_that_does_not_end_is_cancelled_after_its_drain_time() -> None:
    runner = Counting()
    runner.stuck = True
    await runner.start()
    await runner.begun.wait()
    await runner.stop(drain_seconds=0.05)
    assert runner.cancelled
    assert runner.state is RunnerState.STOPPED


async def test_stopping_is_idempotent_and_needs_no_start() -> None:
    runner = Counting()
    await runner.stop()
    await runner.stop()
    assert runner.state is RunnerState.STOPPED


async def test_a_cancelled_stop_stops_the_loop_all_the_same() -> None:
    runner = Counting()
    runner.stuck = True
    await runner.start()
    await runner.begun.wait()
    stopping = asyncio.create_task(runner.stop(drain_seconds=60))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await _until(lambda: runner.cancelled)


async def test_where_one_fails_to_start_the_others_are_stopped() -> None:
    first, second = Counting(), Counting()
    await second.start()
    with pytest.raises(RuntimeError, match="started already"):
        await start_all([first, second])
    assert first.state is RunnerState.STOPPED
    await stop_all([first, second])


class Scripted(Runner):
    """Ends as the script says, once for each of its lines; then works."""

    def __init__(self, *script: Callable[[], Awaitable[None]]) -> None:
        super().__init__("scripted")
        self.script = list(script)
        self.working = asyncio.Event()
        self.released = 0

    async def run(self) -> None:
        if self.script:
            await self.script.pop(0)()
            return
        self.working.set()
        while not self.stopping:
            self.healthy()
            await self.wait(60)

    async def release(self) -> None:
        self.released += 1


class _Odd(BaseException):
    """No `Exception`, and no order to end."""


def _raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def end() -> None:
        raise error

    return end


async def _returning() -> None:
    return


async def _cancelled_within() -> None:
    inner = asyncio.ensure_future(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


@pytest.mark.parametrize(
    ("ending", "name"),
    [
        (_raising(ValueError("planned")), "ValueError"),
        (_raising(_Odd()), "_Odd"),
        (_raising(GeneratorExit()), "GeneratorExit"),
        (_raising(BaseExceptionGroup("several", [_Odd(), ValueError()])), "_Odd"),
        (_raising(RecursionError()), "RecursionError"),
        (_raising(MemoryError()), "MemoryError"),
        (_raising(asyncio.CancelledError()), "CancelledError"),
        (_cancelled_within, "CancelledError"),
        (_returning, "scripted returned"),
    ],
)
async def test_a_loop_goes_on_however_it_ended_and_tells_it_while_it_does_not(
    ending: Callable[[], Awaitable[None]],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(lifecycle, "FAILING_SECONDS_MAX", 0.0)
    caplog.set_level(logging.WARNING, "freehold.lifecycle")
    runner = Scripted(ending)
    assert runner.trouble == ""
    await runner.start()
    await _until(lambda: runner.state is RunnerState.FAILING)
    assert name in runner.trouble
    assert f"scripted failed ({name}" in caplog.text
    assert "; restarts in 0.1 s" in caplog.text
    await asyncio.wait_for(runner.working.wait(), 30)
    await _until(lambda: runner.state is RunnerState.RUNNING)
    assert runner.trouble == ""
    await runner.stop()
    assert runner.state is RunnerState.STOPPED


async def test_a_loop_that_fails_for_a_moment_is_no_trouble_yet() -> None:
    runner = Scripted(_raising(ValueError("planned")))
    await runner.start()
    await _until(lambda: runner.state is RunnerState.FAILING)
    assert runner.trouble == ""
    await runner.stop()


async def test_what_ends_the_loop_from_outside_is_told(caplog: pytest.LogCaptureFixture) -> None:
    runner = Scripted()
    await runner.start()
    await runner.working.wait()
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "scripted"]
    task.cancel()
    await _until(lambda: runner.state is RunnerState.ENDED)
    assert "ended (CancelledError)" in runner.trouble
    assert "scripted has ended (CancelledError)" in caplog.text
    await runner.stop()


def test_an_order_to_the_process_ends_the_loop_and_is_told() -> None:
    runner = None

    async def main() -> None:
        nonlocal runner
        runner = Scripted(_raising(KeyboardInterrupt()))
        await runner.start()
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert runner is not None
    assert (runner.state, "KeyboardInterrupt" in runner.trouble) == (RunnerState.ENDED, True)


async def test_what_is_held_is_released_also_where_the_loop_was_failing_when_it_was_stopped() -> None:
    runner = Scripted(*[_raising(ValueError("planned"))] * 9)
    await runner.start()
    await _until(lambda: runner.state is RunnerState.FAILING)
    await runner.stop()
    assert runner.released == 1


async def test_the_first_of_several_waits_cancels_the_others_and_raises_its_error() -> None:
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ValueError, match="planned"):
        await first_of(endless(), _raising(ValueError("planned"))())
    await asyncio.wait_for(cancelled.wait(), 60)
