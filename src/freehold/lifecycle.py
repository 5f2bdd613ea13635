"""One way to start, stop, drain and cancel for every loop of Freehold. Foundation: imports its siblings.

Protocol: `start()` spawns the task and returns once `run()` is scheduled; `stop(drain_seconds)` asks `run()` to finish
what it holds (`self.stopping` becomes true and every `wait` returns at once), waits at most `drain_seconds`, then
cancels and waits for the cancellation to be absorbed. `stop()` is idempotent, and safe from a cancelled task: the loop
is stopped all the same.

No loop ends unseen. What `run()` raises is logged and kept, and it is restarted after a backoff: an exception, a
cancellation that nobody asked for, any other `BaseException`, and also a return that nobody asked for. An outage is
told once for all loops of a service (`freehold.outages`), anything else once for each loop and kind of failure, a bug
with its stack. Only what ends
the process or the event loop ends the loop as well (KeyboardInterrupt, SystemExit, a cancellation from outside): it is
`ENDED` then. `trouble` tells in words what a readiness check has to say about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

from freehold.clock import Clock, SystemClock
from freehold.errors import (
    ConcurrencyConflict,
    ConfigurationError,
    FreeholdError,
    LeaseLost,
    PermissionDenied,
    Unavailable,
)
from freehold.failures import describe, root_cause
from freehold.origin import origin, stack
from freehold.outages import DATABASE, REMIND_SECONDS, Outages, Wait, current_outages, on_behalf_of, reason_of
from freehold.policy import OUTAGE, RESTART

__all__ = [
    "FAILING_SECONDS_MAX",
    "HandlerAborted",
    "LoopEnded",
    "Runner",
    "RunnerState",
    "contained",
    "start_all",
    "stop_all",
]

FAILING_SECONDS_MAX: Final = 20.0
"""How long a loop may fail, round after round, before it is trouble: a server that is restarted is none."""
_log = logging.getLogger("freehold.lifecycle")
_STUCK_MAX = 1000
_RELEASE_SECONDS = 0.2


class HandlerAborted(FreeholdError):
    """A handler was left by what is no `Exception`, and no order to end either."""


@contextlib.contextmanager
def contained(what: str = "a handler") -> Iterator[None]:
    """Make an error of what would end the loop in which a handler is called, and is no order to end: a cancellation
    that nobody has asked for, or an exception that is no `Exception`. Raises `HandlerAborted` in its place.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise HandlerAborted(
            f"{what} was left by {type(error).__name__}", hint="it has to raise an Exception, or return"
        ) from error


class LoopEnded(FreeholdError):
    """A loop returned, or was cancelled, although nobody had asked it to stop."""


_NO_BUGS: Final = (
    Unavailable,
    ConcurrencyConflict,
    ConfigurationError,
    PermissionDenied,
    LeaseLost,
    LoopEnded,
    asyncio.CancelledError,
)
"""Their texts say all that there is to know; where they were raised says nothing more."""


class RunnerState(StrEnum):
    """Where a runner is in its life. `ENDED`: it stopped for good although nobody had asked it to."""

    NEW = "new"
    RUNNING = "running"
    FAILING = "failing"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ENDED = "ended"


class Runner(ABC):
    """A loop. Subclasses implement `run`, call `wait` to idle and `healthy` after each good round. `needs` is what the
    loop waits for where `run` raises `Unavailable`.
    """

    needs: str = DATABASE

    def __init__(self, name: str, *, clock: Clock | None = None) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.state = RunnerState.NEW
        self.last_error: BaseException | None = None
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._failing_since: float | None = None
        self._stuck: dict[str, tuple[float, str]] = {}
        self._told: dict[str, float] = {}
        self._waits: dict[str, Wait] = {}
        self.outages = Outages(name, self.clock)

    @property
    def stopping(self) -> bool:
        """True once stop was asked for: finish what is held, take nothing new."""
        return self._stop.is_set()

    @property
    def children(self) -> Sequence[Runner]:
        """Runners that this one has started: it stops them itself."""
        return ()

    @property
    def complete(self) -> bool:
        """Whether there is nothing to do any more: `run` may return then though nobody asked it to stop."""
        return False

    @property
    def trouble(self) -> str:
        """What keeps this loop from its work, and for how long; empty while it works, or has not failed for long."""
        error = reason_of(root_cause(self.last_error)) if self.last_error is not None else "no error"
        if self.state is RunnerState.ENDED:
            return f"ended ({error}), and is not started again"
        now = self.clock.monotonic()
        if self._failing_since is not None and now - self._failing_since >= FAILING_SECONDS_MAX:
            return f"fails since {now - self._failing_since:.0f} s ({error})"
        for place, (since, name) in self._stuck.items():
            if now - since >= FAILING_SECONDS_MAX:
                return f"{place} fails since {now - since:.0f} s ({name})"
        return ""

    @property
    def notice(self) -> str:
        """What this loop waits for and what passes by itself; empty for nothing."""
        return ""

    @property
    def pending_correction(self) -> str:
        """The count that this loop must still correct, described for people; empty for none. While the database is
        away, a stop waits within its limit until it is corrected.
        """
        return ""

    @abstractmethod
    async def run(self) -> None:
        """Do the work until `self.stopping`; return to end, raise to be restarted after a backoff."""

    async def release(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what is held, once the loop has ended because it was stopped; also where it failed just then."""

    async def start(self) -> None:
        """Spawn the loop. Starting twice is an error of the caller."""
        if self._task is not None:
            msg = f"runner {self.name} was started already"
            raise RuntimeError(msg)
        self.state = RunnerState.RUNNING
        self.outages = current_outages() or self.outages
        with on_behalf_of(self.outages):
            self._task = asyncio.create_task(self._supervise(), name=self.name)
        self._task.add_done_callback(self._task_ended)

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
        """Note that a round went well: the restart backoff begins again, and no outage keeps this loop waiting."""
        self._failures = 0
        self._failing_since = None
        for wait in self._waits.values():
            wait.over()
        if self.state is RunnerState.FAILING:
            self.state = RunnerState.RUNNING

    def waits_for(self, what: str, error: BaseException, *, again_seconds: float) -> None:
        """Note that something is away which this loop needs, and that it tries again by itself; until `healthy`."""
        self.last_error = error
        self.wait_of(what).failed(error, again_seconds=again_seconds)

    def wait_of(self, what: str) -> Wait:
        """The wait of this loop for something; `healthy` ends it, and the end of the loop gives it up."""
        return self._waits.setdefault(what, self.outages.wait_of(self.name, what))

    def trouble_at(self, place: str, error: BaseException) -> None:
        """Note that a part of the work fails while the rest goes on; for long, it is trouble all the same."""
        if place not in self._stuck and len(self._stuck) < _STUCK_MAX:
            self._stuck[place] = self.clock.monotonic(), reason_of(root_cause(error))
        self.last_error = error

    def no_trouble_at(self, place: str) -> None:
        """Note that a part of the work gets on again."""
        self._stuck.pop(place, None)

    async def wait(self, seconds: float) -> None:
        """Idle until `wake`, `stop` or `seconds` later by the runner's clock, whichever comes first."""
        try:
            await self._until(self._wake, seconds)
        finally:
            self._wake.clear()

    async def rest(self, seconds: float) -> None:
        """As `wait`, but that `wake` does not end it, and still ends the next `wait`."""
        await self._until(self._stop, seconds)

    async def _until(self, event: asyncio.Event, seconds: float) -> None:
        if self.stopping:
            return
        waiter = asyncio.ensure_future(event.wait())
        sleeper = asyncio.ensure_future(self.clock.sleep(seconds))
        try:
            done, _ = await asyncio.wait({waiter, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            if sleeper in done:
                sleeper.result()
        finally:
            waiter.cancel()
            sleeper.cancel()

    async def _supervise(self) -> None:
        try:
            while not self.stopping and not self.complete:
                try:
                    await self.run()
                except BaseException as error:
                    if self._must_end(error):
                        raise
                    await self._back_off(error)
                else:
                    await self._returned()
        finally:
            try:
                if self.stopping and not self._abandoned():
                    await self._let_go()
            finally:
                for wait in self._waits.values():
                    wait.given_up()

    async def _returned(self) -> None:
        if not (self.stopping or self.complete):
            await self._back_off(LoopEnded(f"{self.name} returned", hint="it was not asked to stop"))

    def _must_end(self, error: BaseException) -> bool:
        """Whether this ends the task: an order to the process, to the event loop or to the task itself."""
        if isinstance(error, KeyboardInterrupt | SystemExit) or self._abandoned():
            return True
        return isinstance(error, asyncio.CancelledError) and self._task is not None and self._task.cancelling() > 0

    def _abandoned(self) -> bool:
        """Whether the coroutine is closed without its task, as when the event loop is gone: it must not wait then."""
        try:
            return asyncio.current_task() is not self._task
        except RuntimeError:
            return True

    async def _let_go(self) -> None:
        """Release what is held. What is not released runs out by itself; a count that must be corrected does not."""
        name = self.outages.titled(self.name)
        try:
            # In real time: a clock of a test does not move at a stop.
            while not await self._released(name):  # noqa: ASYNC110 - nothing tells that what was away is back
                await asyncio.sleep(_RELEASE_SECONDS)  # the stop ends it after `drain_seconds`
        except asyncio.CancelledError:
            if self.pending_correction:
                text = "%s: stopped before %s was corrected: one attempt too many is counted"
                _log.warning(text, name, self.pending_correction)
            raise

    async def _released(self, name: str) -> bool:
        try:
            await self.release()
        except Exception as error:  # noqa: BLE001 - what is not given back runs out by itself
            away = isinstance(error, Unavailable)
            if away and self.pending_correction:
                self.waits_for(self.needs, error, again_seconds=_RELEASE_SECONDS)
                return False
            level = logging.INFO if away else logging.WARNING
            _log.log(level, "%s: stopped; what it held runs out by itself (%s)", name, describe(error))
        else:
            if self.needs in self._waits and type(self).release is not Runner.release:
                self._waits[self.needs].over()
        return True

    async def _back_off(self, error: BaseException) -> None:
        self.last_error = error
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = self.clock.monotonic()
        if self.stopping:
            return
        self.state = RunnerState.FAILING
        cause = root_cause(error)
        backoff = OUTAGE if isinstance(cause, Unavailable) else RESTART
        delay_seconds = backoff.after(self._failures)
        if isinstance(cause, Unavailable):
            self.waits_for(self.needs, cause, again_seconds=backoff.delay_seconds_max)
            self.last_error = error
        else:
            self._tell(cause, delay_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), delay_seconds)

    def _tell(self, error: BaseException, delay_seconds: float) -> None:
        """Say that the loop failed, and why: at once where that is new, now and then where it comes again."""
        kind, now = f"{type(error).__name__} {origin(error)}", self.clock.monotonic()
        told_at = self._told.get(kind)
        if told_at is not None and now - told_at < REMIND_SECONDS:
            _log.debug("%s failed again (%s); starts again in %.1f s", self.name, describe(error), delay_seconds)
            return
        if len(self._told) < _STUCK_MAX:
            self._told[kind] = now
        _log.error(
            "%s failed (%s); starts again in %.1f s", self.outages.titled(self.name), describe(error), delay_seconds
        )
        if self.outages.tracebacks and told_at is None and not isinstance(error, _NO_BUGS):
            _log.error("%s failed so:\n%s", self.outages.titled(self.name), stack(error))

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Look at how the task ended: asyncio would tell of it only once the task is collected, if ever."""
        if task.cancelled():
            error: BaseException | None = asyncio.CancelledError()
        else:
            error = task.exception()
        if self.stopping or (error is None and self.complete):
            if error is not None and not isinstance(error, asyncio.CancelledError):
                self.last_error = error
                name = self.outages.titled(self.name)
                _log.warning("%s failed while it was stopped (%s); it is stopped all the same", name, describe(error))
            return
        self.last_error = error or LoopEnded(f"{self.name} returned")
        self.state = RunnerState.ENDED
        _log.error(
            "%s has ended (%s) and is not started again; the service is not ready until its process is restarted",
            self.outages.titled(self.name),
            describe(self.last_error),
        )


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
