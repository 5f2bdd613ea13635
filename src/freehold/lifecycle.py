"""One way to start, stop, drain and cancel for every loop of Freehold. Foundation: standard library only.

Protocol: `start()` spawns the task and returns once `run()` is scheduled; `stop(drain_seconds)` asks `run()` to finish
what it holds (`self.stopping` becomes true and every `wait` returns at once), waits at most `drain_seconds`, then
cancels and waits for the cancellation to be absorbed. A runner that fails restarts after a backoff and keeps its last
error; it never dies silently. `stop()` is idempotent, and safe from a cancelled task: the loop is stopped all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from enum import StrEnum

from freehold.clock import Clock, SystemClock
from freehold.errors import FreeholdError
from freehold.policy import Retry, RetryAfter

__all__ = ["HandlerLeft", "Runner", "RunnerState", "contained", "start_all", "stop_all"]

_log = logging.getLogger("freehold.lifecycle")
_RESTART = Retry(attempts=2**31, delay_seconds=0.1, delay_seconds_max=10.0)


class HandlerLeft(FreeholdError):
    """A handler was left by what is no `Exception`, and no order to end either."""


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Make an error of what would end the loop in which a handler is called, and is no order to end: a cancellation
    that nobody has asked for, or an exception that is no `Exception`. Raises `HandlerLeft` in its place.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise HandlerLeft(
            f"a handler was left by {type(error).__name__}", hint="it has to raise an Exception, or return"
        ) from error


class RunnerState(StrEnum):
    """Where a runner is in its life."""

    NEW = "new"
    RUNNING = "running"
    FAILING = "failing"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Runner(ABC):
    """A loop. Subclasses implement `run`, call `wait` to idle and `healthy` after each good round."""

    def __init__(self, name: str, *, clock: Clock | None = None) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.state = RunnerState.NEW
        self.last_error: BaseException | None = None
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    @property
    def stopping(self) -> bool:
        """True once stop was asked for: finish what is held, take nothing new."""
        return self._stop.is_set()

    @abstractmethod
    async def run(self) -> None:
        """Do the work until `self.stopping`; return to end, raise to be restarted after a backoff."""

    async def start(self) -> None:
        """Spawn the loop. Starting twice is an error of the caller."""
        if self._task is not None:
            msg = f"runner {self.name} was started already"
            raise RuntimeError(msg)
        self.state = RunnerState.RUNNING
        self._task = asyncio.create_task(self._supervise(), name=self.name)

    async def stop(self, drain_seconds: float = 10.0) -> None:
        """Let the loop finish what it holds within `drain_seconds`, then cancel it. Returns when it has ended."""
        self._stop.set()
        self._wake.set()
        task = self._task
        if task is None or task.done():
            self.state = RunnerState.STOPPED
            return
        self.state = RunnerState.STOPPING
        try:
            await asyncio.wait({task}, timeout=drain_seconds)
        finally:
            if not task.done():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.gather(task, return_exceptions=True))
            self.state = RunnerState.STOPPED

    def wake(self) -> None:
        """End the current or next `wait` at once; call from the loop's own thread."""
        self._wake.set()

    def healthy(self) -> None:
        """Note that a round went well: the restart backoff begins anew."""
        self._failures = 0
        if self.state is RunnerState.FAILING:
            self.state = RunnerState.RUNNING

    async def wait(self, seconds: float) -> None:
        """Idle until `wake`, `stop` or `seconds` later by the runner's clock, whichever comes first."""
        if self.stopping:
            return
        waker = asyncio.ensure_future(self._wake.wait())
        sleeper = asyncio.ensure_future(self.clock.sleep(seconds))
        try:
            await asyncio.wait({waker, sleeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waker.cancel()
            sleeper.cancel()
            self._wake.clear()

    async def _supervise(self) -> None:
        while not self.stopping:
            try:
                await self.run()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever its work raises
                await self._back_off(error)
            else:
                return

    async def _back_off(self, error: Exception) -> None:
        self.last_error = error
        self._failures += 1
        self.state = RunnerState.FAILING
        decision = _RESTART.decide(self._failures, error)
        delay_seconds = decision.delay_seconds if isinstance(decision, RetryAfter) else 10.0
        _log.warning("%s failed (%s), restarting in %.1f s", self.name, type(error).__name__, delay_seconds)
        _log.debug("%s failed", self.name, exc_info=error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), delay_seconds)


async def start_all(runners: Iterable[Runner]) -> None:
    """Start runners in order; where one fails to start, those already started are stopped."""
    started: list[Runner] = []
    try:
        for runner in runners:
            await runner.start()
            started.append(runner)
    except BaseException:
        await stop_all(started)
        raise


async def stop_all(runners: Iterable[Runner], drain_seconds: float = 10.0) -> None:
    """Stop runners together; each gets the whole `drain_seconds`."""
    await asyncio.gather(*(runner.stop(drain_seconds) for runner in runners), return_exceptions=True)
