"""Tasks of asyncio: groups that end together, the first of several waits, and what a task may do to a loop that awaits
it. Foundation: imports the clock and the errors.

`asyncio.TaskGroup` cancels the task that waits for it when one of its own fails, and CPython 3.11 and 3.12 do not take
that request back if the task waits at the end of the block (`Task.cancelling()` stays above 0). What looks at that
number later is misled: `asyncio.timeout` lets its own cancellation out, in place of a `TimeoutError`, and a loop takes
it for a request to end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from freehold.clock import Clock, SystemClock
from freehold.errors import FreeholdError

__all__ = ["HandlerAborted", "TaskGroup", "TimeLimit", "call_later", "contained", "first_of"]

T = TypeVar("T")


class TaskGroup:
    """`async with TaskGroup() as group: group.create_task(…)`: the block ends when all of its tasks have ended.

    When one fails, the others are cancelled. Raises an `ExceptionGroup` of the failures, or the cancellation of the
    waiting task, which is never lost: it cancels the tasks, waits for them, and counts more than their failures. Unlike
    asyncio's group this one does not interrupt the body of the block.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []
        self._changed = asyncio.Event()
        self._ending = False

    def create_task(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a task. Raises `RuntimeError` where the others are being cancelled."""
        if self._ending:
            work.close()
            msg = "the tasks of this group are being cancelled"
            raise RuntimeError(msg)
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the tasks."""
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        if error is not None:
            self._cancel()
        while self._tasks:
            self._changed.clear()
            try:
                await self._changed.wait()
            except asyncio.CancelledError as request:
                cancelled = request
                self._cancel()
        if error is not None and cancelled is None and not isinstance(error, Exception):
            raise error
        if cancelled is not None:
            raise cancelled
        errors = [*self._errors, *([error] if error is not None else [])]
        if errors:
            raise BaseExceptionGroup("tasks failed", errors) from None

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._errors.append(failure)
            self._cancel()
        self._changed.set()

    def _cancel(self) -> None:
        self._ending = True
        for task in self._tasks:
            task.cancel()


class HandlerAborted(FreeholdError):
    """A handler raised something that is not an `Exception`, and not a request to end the task or the process."""


class _Contained:
    """See `contained`. A class, since it surrounds each message: a generator takes three times as long."""

    __slots__ = ("_requests", "_task", "_what")

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._requests = self._task.cancelling() if self._task is not None else 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = self._task
        if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
            return
        if isinstance(error, Exception):
            while task is not None and task.cancelling() > self._requests:
                task.uncancel()
            return
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            return
        raise HandlerAborted(
            f"{self._what} raised {type(error).__name__}", hint="it must return, or raise an Exception"
        ) from error


def contained(what: str = "a handler") -> AbstractContextManager[None]:
    """Protect a loop from the handler that it calls: raises `HandlerAborted` in place of a `BaseException` that would
    end the loop without reason. This is a cancellation that nobody requested, or an exception that is no `Exception`.
    A request for cancellation that an `asyncio.TaskGroup` in the handler has left behind is taken back.
    """
    return _Contained(what)


class TimeLimit:
    """The time limit of calls that one task makes one after the other: `with limit.of(seconds): await call()`.

    As `asyncio.timeout` does, it cancels the task, and raises `TimeoutError`; `expired` is then true until the next
    call. But there is one timer for all calls, which looks at the limit of the present one when it ends. Close it after
    the last call.
    """

    __slots__ = ("_deadline", "_loop", "_requests", "_seconds", "_task", "_timer", "_timer_ends", "expired")

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            msg = "a time limit is made in the task that it is for"
            raise RuntimeError(msg)
        self.expired = False
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._seconds = self._deadline = self._timer_ends = math.inf
        self._requests = 0
        self._timer: asyncio.TimerHandle | None = None

    def of(self, seconds: float) -> Self:
        """The limit of the next call."""
        self._seconds = seconds
        return self

    def close(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        """The call begins."""
        self.expired = False
        self._requests = self._task.cancelling()
        self._deadline = self._loop.time() + self._seconds
        if self._timer is None or self._deadline < self._timer_ends:
            self._set_timer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The call has ended. Raises `TimeoutError` where the limit, and nothing else, has cancelled it."""
        self._deadline = math.inf
        if self.expired and self._task.uncancel() <= self._requests and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def _set_timer(self) -> None:
        self.close()
        self._timer_ends = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline <= self._loop.time():
            self.expired = True
            self._task.cancel()
        elif self._deadline < math.inf:
            self._set_timer()


async def first_of(*waits: Awaitable[object]) -> None:
    """Wait until one of several waits has ended, and cancel the others. Raises what that one raised."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    finally:
        for each in tasks:
            each.cancel()


def call_later(clock: Clock, seconds: float, call: Callable[[], None]) -> Callable[[], object]:
    """Call a function after `seconds` by a clock; returns the function that prevents it. By the system's clock this
    takes one timer, by another one a task.
    """
    if type(clock).sleep is SystemClock.sleep:
        return asyncio.get_running_loop().call_later(seconds, call).cancel

    async def wait() -> None:
        await clock.sleep(seconds)
        call()

    return asyncio.create_task(wait()).cancel
