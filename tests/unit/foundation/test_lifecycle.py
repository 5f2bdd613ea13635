"""One way to start, stop, drain and cancel for every loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from freehold.lifecycle import Runner, RunnerState, start_all, stop_all


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
