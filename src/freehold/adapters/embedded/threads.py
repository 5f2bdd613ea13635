"""Threads that run functions on SQLite connections. Adapter: standard library and its package.

All waiting writes share one transaction: under load one flush to the disk confirms many messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from freehold.adapters.embedded.connection import begin
from freehold.adapters.embedded.errors import translate_error
from freehold.adapters.embedded.file import BrokerFile, OpenFile
from freehold.crash_points import crash_point
from freehold.errors import BrokerError, OperationTimeout, Unavailable

__all__ = ["ReadThread", "WorkerThread", "WriteThread"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

_BATCH_MAX: Final = 256
_STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.25
"""How often an idle thread checks whether its file was abandoned."""
_CLOSED: Final = "the embedded broker is closed"


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    deadline: float
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class WorkerThread:
    """A thread with a connection of its own and a queue of work."""

    _busy_seconds = 1.0

    def __init__(self, name: str, file: BrokerFile, limit_seconds: float) -> None:
        self._file = file
        self._limit_seconds = limit_seconds
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._open: OpenFile | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T], limit_seconds: float | None = None) -> T:
        """Run `work` in the thread. Raises `Unavailable` where it did not start or finish in time.

        After `Unavailable` or a cancellation it may still take effect.
        """
        if self._closed:
            raise Unavailable(_CLOSED, hint="open it again")
        limit = self._limit_seconds if limit_seconds is None else limit_seconds
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work=work, deadline=time.monotonic() + limit, loop=loop, done=done))
        try:
            async with asyncio.timeout(limit + 1.0):
                return await done
        except TimeoutError as error:
            raise OperationTimeout("the broker's file did not answer in time", hint="check the disk") from error

    async def close(self) -> None:
        """Finish the queued work and end the thread."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    def _serve(self) -> None:
        running = True
        while running:
            jobs: list[_Job] = []
            try:
                job = self._jobs.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if self._open is not None and self._open.abandoned:
                    self._reset()
                continue
            while job is not None:
                jobs.append(job)
                if len(jobs) == _BATCH_MAX or self._jobs.empty():
                    break
                job = self._jobs.get()
            running = job is not None
            if jobs:
                self._work_off(jobs)
        self._reset()

    def _work_off(self, jobs: Sequence[_Job]) -> None:
        """Run the jobs; each gets a result or an error in any case."""
        results: Sequence[Any]
        try:
            opened = self._ready()
        except Exception as error:  # noqa: BLE001 - the thread continues after any error of the file
            results = [self._failure(error)] * len(jobs)
        else:
            try:
                results = self._execute(opened, jobs)
            except BaseException as error:  # noqa: BLE001 - the thread continues after any error of its work
                self._reset()
                results = [self._failure(error)] * len(jobs)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and no task waits
            jobs[0].loop.call_soon_threadsafe(_answer, jobs, results)

    def _execute(self, opened: OpenFile, jobs: Sequence[_Job]) -> Sequence[Any]:
        raise NotImplementedError

    def _ready(self) -> OpenFile:
        """The file that is at the path now. A former one stays open until the new one is."""
        if self._open is not None and self._open.abandoned:
            self._reset()
        former = self._open
        if former is not None and not former.change():
            return former
        self._open = self._file.open(self._busy_seconds, former)
        if former is not None:
            former.close()
        return self._open

    def _reset(self) -> None:
        """Close the connection, which also ends an open transaction; the next job opens a new one."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _failure(self, error: BaseException) -> Exception:
        if isinstance(error, sqlite3.Error | MemoryError | OSError):
            translated = translate_error(error, self._file.options.path)
            translated.__cause__ = error
            return translated
        return error if isinstance(error, Exception) else BrokerError(f"the work ended: {type(error).__name__}")


class ReadThread(WorkerThread):
    """Runs reads, each job by itself."""

    def _execute(self, opened: OpenFile, jobs: Sequence[_Job]) -> Sequence[Any]:
        return [job.work(opened.connection) for job in jobs]


class WriteThread(WorkerThread):
    """Runs writes; all waiting jobs share one transaction. `after_commit` is called in the thread after each commit.

    A commit counts only if the file is still at its path afterwards; otherwise the jobs get `Unavailable`.

    waits  whether the thread is waiting for a lock that another process holds.
    """

    # It waits in `begin`.
    _busy_seconds = 0.0

    def __init__(
        self, name: str, file: BrokerFile, limit_seconds: float, after_commit: Callable[[sqlite3.Connection], None]
    ) -> None:
        self._after_commit = after_commit
        self.waits = False
        super().__init__(name, file, limit_seconds)

    def _execute(self, opened: OpenFile, jobs: Sequence[_Job]) -> Sequence[Any]:
        connection = opened.connection
        self.waits = True
        begin(connection, max(0.0, min(job.deadline for job in jobs) - time.monotonic()))
        self.waits = False
        results = [job.work(connection) for job in jobs]
        crash_point("embedded.before-commit")
        connection.execute("COMMIT")
        crash_point("embedded.committed")
        change = opened.change()
        if change:
            lost = Unavailable(f"the broker did not keep what was written: {change}", hint="it will be tried again")
            return [lost] * len(jobs)
        crash_point("embedded.before-wake")
        self._after_commit(connection)
        return results


def _answer(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.done.done():
            continue
        if isinstance(result, BaseException):
            job.done.set_exception(_copy(result))
        else:
            job.done.set_result(result)


def _copy(error: BaseException) -> BaseException:
    """A copy for each waiting task: an exception with its traceback belongs to one task."""
    if isinstance(error, Unavailable | BrokerError):
        mine = type(error)(error.message, hint=error.hint)
        mine.__cause__ = error.__cause__
        return mine
    return error
