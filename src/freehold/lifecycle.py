"""Runners: how every background loop of Freehold is started, stopped, drained, cancelled and restarted. Foundation:
imports its siblings.

`start()` spawns the task and returns once `run()` is scheduled. `stop(drain_seconds)` asks `run()` to finish its work
(`self.stopping` becomes true and every `wait` returns at once), waits at most `drain_seconds`, then cancels the task
and waits until it has ended. `stop()` is idempotent. If the task that calls it is cancelled, the loop is stopped
nevertheless.

A loop never ends unnoticed. If `run()` raises any exception, is cancelled without a stop, or returns without a stop,
this is logged, kept as `last_error`, and `run()` is called again after a backoff. An outage is logged once for all
loops of a service (`freehold.outages`), any other failure once for each loop and kind of failure, a bug with its stack.
A loop ends only with the process or the event loop (KeyboardInterrupt, SystemExit, a cancellation from outside); its
state is `ENDED` then. `trouble` is the text that a readiness check shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
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
from freehold.tasks import first_of

__all__ = [
    "FAILING_SECONDS_MAX",
    "LoopEnded",
    "Runner",
    "RunnerState",
    "start_all",
    "stop_all",
]

FAILING_SECONDS_MAX: Final = 20.0
"""How long a loop may fail before `trouble` reports it: the restart of a server takes less."""
_log = logging.getLogger("freehold.lifecycle")
_STUCK_MAX = 1000
_RELEASE_SECONDS = 0.2


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
"""Errors that are logged without a stack: their texts say everything."""


class RunnerState(StrEnum):
    """The state of a runner. `ENDED`: it ended for good without having been stopped."""

    NEW = "new"
    RUNNING = "running"
    FAILING = "failing"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ENDED = "ended"


class Runner(ABC):
    """A background loop. Subclasses implement `run`, call `wait` to idle and `healthy` after each round that succeeded.
    `needs` names what the loop waits for when `run` raises `Unavailable`.
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
        self._logged_at: dict[str, float] = {}
        self._waits: dict[str, Wait] = {}
        self.outages = Outages(name, self.clock)

    @property
    def stopping(self) -> bool:
        """True once `stop` was called: finish work in progress, and begin nothing new."""
        return self._stop.is_set()

    @property
    def children(self) -> Sequence[Runner]:
        """Runners that this one has started, and stops itself."""
        return ()

    @property
    def complete(self) -> bool:
        """Whether all work is done: `run` may return then without a stop."""
        return False

    @property
    def trouble(self) -> str:
        """Why this loop does not work, and for how long; empty if it works, or has failed for a short time only."""
        error = reason_of(root_cause(self.last_error)) if self.last_error is not None else "no error"
        if self.state is RunnerState.ENDED:
            return f"ended ({error}), and is not started again"
        now = self.clock.monotonic()
        if self._failing_since is not None and now - self._failing_since >= FAILING_SECONDS_MAX:
            return f"has failed for {now - self._failing_since:.0f} s ({error})"
        for place, (since, name) in self._stuck.items():
            if now - since >= FAILING_SECONDS_MAX:
                return f"{place} has failed for {now - since:.0f} s ({name})"
        return ""

    @property
    def notice(self) -> str:
        """What this loop waits for, where the wait ends by itself; empty for nothing."""
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

    async def release(self) -> None:  # noqa: B027 - most runners hold nothing
        """Release leases and claims. Called once the loop has ended because of a stop, also if `run` failed then."""

    async def start(self) -> None:
        """Spawn the loop. Raises `RuntimeError` for a runner that was started before."""
        if self._task is not None:
            msg = f"runner {self.name} was started already"
            raise RuntimeError(msg)
        self.state = RunnerState.RUNNING
        self.outages = current_outages() or self.outages
        with on_behalf_of(self.outages):
            self._task = asyncio.create_task(self._supervise(), name=self.name)
        self._task.add_done_callback(self._task_ended)

    async def stop(self, drain_seconds: float = 10.0) -> None:
        """Let the loop finish its work within `drain_seconds`, then cancel it. Returns when it ended. Idempotent."""
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

    @property
    def woken(self) -> bool:
        """Whether `wake` was called, and no `wait` has ended by it yet: the next one ends at once."""
        return self._wake.is_set()

    def forget_wake(self) -> None:
        """Forget an earlier `wake`: what is read from here on contains what it announced. A later one counts."""
        self._wake.clear()

    def healthy(self) -> None:
        """Note a successful round: the restart backoff is reset, and the waits of this loop for outages end."""
        self._failures = 0
        self._failing_since = None
        for wait in self._waits.values():
            wait.over()
        if self.state is RunnerState.FAILING:
            self.state = RunnerState.RUNNING

    def waits_for(self, what: str, error: BaseException, *, again_seconds: float) -> None:
        """Note that something which this loop needs is unavailable, and that the loop tries again; until `healthy`."""
        self.last_error = error
        self.wait_of(what).failed(error, again_seconds=again_seconds)

    def wait_of(self, what: str) -> Wait:
        """The wait of this loop for something. `healthy` ends it, and so does the end of the loop."""
        return self._waits.setdefault(what, self.outages.wait_of(self.name, what))

    def trouble_at(self, place: str, error: BaseException) -> None:
        """Note that a part of the work fails while the rest continues; `trouble` reports it if that lasts."""
        if place not in self._stuck and len(self._stuck) < _STUCK_MAX:
            self._stuck[place] = self.clock.monotonic(), reason_of(root_cause(error))
        self.last_error = error

    def no_trouble_at(self, place: str) -> None:
        """Note that a part of the work succeeds again."""
        self._stuck.pop(place, None)

    async def wait(self, seconds: float) -> None:
        """Idle until `wake`, `stop` or `seconds` later by the runner's clock, whichever comes first."""
        try:
            await self._until(self._wake, seconds)
        finally:
            self._wake.clear()

    async def rest(self, seconds: float) -> None:
        """As `wait`, but `wake` does not end it: a `wake` during the rest ends the next `wait`."""
        await self._until(self._stop, seconds)

    async def _until(self, event: asyncio.Event, seconds: float) -> None:
        if self.stopping:
            return
        if event.is_set():
            await asyncio.sleep(0)  # a loop that is woken in every round must not keep the others from running
        elif type(self.clock).sleep is SystemClock.sleep:
            # Without a task: a loop that idles costs one future and one timer.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds)):
                    await event.wait()
        else:
            await first_of(event.wait(), self.clock.sleep(seconds))

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
                    await self._release_all()
            finally:
                for wait in self._waits.values():
                    wait.given_up()

    async def _returned(self) -> None:
        if not (self.stopping or self.complete):
            await self._back_off(LoopEnded(f"{self.name} returned", hint="it was not asked to stop"))

    def _must_end(self, error: BaseException) -> bool:
        """Whether this error must end the task: the process, the event loop or the task itself was asked to end."""
        if isinstance(error, KeyboardInterrupt | SystemExit) or self._abandoned():
            return True
        return isinstance(error, asyncio.CancelledError) and self._task is not None and self._task.cancelling() > 0

    def _abandoned(self) -> bool:
        """Whether the coroutine is closed outside of its task, as after the end of the event loop: it must not wait."""
        try:
            return asyncio.current_task() is not self._task
        except RuntimeError:
            return True

    async def _release_all(self) -> None:
        """Call `release`, and again during an outage while there are counts to correct: leases expire by themselves,
        but a wrong count stays.
        """
        name = self.outages.titled(self.name)
        try:
            # In real time: the clock of a test does not move during a stop.
            while not await self._released(name):  # noqa: ASYNC110 - the end of an outage is not signalled
                await asyncio.sleep(_RELEASE_SECONDS)  # `stop` cancels it after `drain_seconds`
        except asyncio.CancelledError:
            if self.pending_correction:
                text = "%s: stopped before %s was corrected: one attempt too many is counted"
                _log.warning(text, name, self.pending_correction)
            raise

    async def _released(self, name: str) -> bool:
        try:
            await self.release()
        except Exception as error:  # noqa: BLE001 - a lease that is not released expires by itself
            away = isinstance(error, Unavailable)
            if away and self.pending_correction:
                self.waits_for(self.needs, error, again_seconds=_RELEASE_SECONDS)
                return False
            level = logging.INFO if away else logging.WARNING
            _log.log(level, "%s: stopped; its leases were not released and will expire (%s)", name, describe(error))
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
            self._log_failure(cause, delay_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), delay_seconds)

    def _log_failure(self, error: BaseException, delay_seconds: float) -> None:
        """Log the failure: a new one at once, a repeated one every `REMIND_SECONDS`."""
        kind, now = f"{type(error).__name__} {origin(error)}", self.clock.monotonic()
        logged_at = self._logged_at.get(kind)
        if logged_at is not None and now - logged_at < REMIND_SECONDS:
            _log.debug("%s failed again (%s); restarts in %.1f s", self.name, describe(error), delay_seconds)
            return
        if len(self._logged_at) < _STUCK_MAX:
            self._logged_at[kind] = now
        name = self.outages.titled(self.name)
        _log.error("%s failed (%s); restarts in %.1f s", name, describe(error), delay_seconds)
        if self.outages.tracebacks and logged_at is None and not isinstance(error, _NO_BUGS):
            _log.error("%s failed here:\n%s", name, stack(error))

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Log how the task ended: asyncio would report an exception only when it collects the task, if ever."""
        if task.cancelled():
            error: BaseException | None = asyncio.CancelledError()
        else:
            error = task.exception()
        if self.stopping or (error is None and self.complete):
            if error is not None and not isinstance(error, asyncio.CancelledError):
                self.last_error = error
                name = self.outages.titled(self.name)
                _log.warning("%s failed during its stop (%s); it is stopped", name, describe(error))
            return
        self.last_error = error or LoopEnded(f"{self.name} returned")
        self.state = RunnerState.ENDED
        _log.error(
            "%s has ended (%s) and is not started again; the service is not ready until its process is restarted",
            self.outages.titled(self.name),
            describe(self.last_error),
        )


async def start_all(runners: Iterable[Runner]) -> None:
    """Start runners in order; if one fails to start, those already started are stopped."""
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
