"""Tasks that end together. Foundation: standard library only.

`asyncio.TaskGroup` cancels the task that waits for it when one of its own fails, and CPython 3.11 and 3.12 do not take
that request back if the task waits at the end of the block (`Task.cancelling()` stays above 0). What looks at that
number later is misled: `asyncio.timeout` lets its own cancellation out, in place of a `TimeoutError`, and a loop takes
it for a request to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = ["TaskGroup"]

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
