"""Threads that SQLite runs on: whole functions, one hop each. Adapter: standard library and its package.

Everything that waits to be written is written in one transaction: under load, one flush to the disk serves many.
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

from freehold.adapters.embedded.connection import FileOptions, begin, connect, diagnose
from freehold.errors import BrokerError, OperationTimeout, Unavailable

__all__ = ["Lane", "ReadLane", "WriteLane"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

_BATCH_MAX: Final = 256
_STOP_SECONDS: Final = 10.0
_CLOSED: Final = "the embedded broker is closed"


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    deadline: float
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class Lane:
    """A thread with a connection of its own, and a queue of work for it."""

    _busy_seconds = 1.0

    def __init__(self, name: str, file: FileOptions, limit_seconds: float) -> None:
        self._file = file
        self._limit_seconds = limit_seconds
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T], limit_seconds: float | None = None) -> T:
        """Do the work in the thread. Raises `Unavailable` when it could not be begun or finished in time; then,
        and when cancelled, it may have been done all the same.
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
        """Finish what is queued and end the thread."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    def _serve(self) -> None:
        running = True
        while running:
            jobs: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) == _BATCH_MAX or self._jobs.empty():
                    break
                job = self._jobs.get()
            running = job is not None
            if jobs:
                self._work_off(jobs)
        if self._connection is not None:
            self._connection.close()

    def _work_off(self, jobs: Sequence[_Job]) -> None:
        """Do the jobs and answer each of them, whatever happens."""
        try:
            results = self._execute(self._connected(), jobs)
        except sqlite3.Error as error:
            self._reset()
            translated = diagnose(error)
            translated.__cause__ = error
            results = [translated] * len(jobs)
        except BaseException as error:  # noqa: BLE001 - the thread outlives whatever its work raises
            self._reset()
            failure = error if isinstance(error, Exception) else BrokerError(f"the work ended: {type(error).__name__}")
            results = [failure] * len(jobs)
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            jobs[0].loop.call_soon_threadsafe(_answer, jobs, results)

    def _execute(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> list[Any]:
        raise NotImplementedError

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._file, self._busy_seconds)
        return self._connection

    def _reset(self) -> None:
        """Begin anew with a fresh connection: it also ends whatever transaction was open."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


class ReadLane(Lane):
    """Reads: each job for itself, on what is committed."""

    def _execute(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> list[Any]:
        return [job.work(connection) for job in jobs]


class WriteLane(Lane):
    """Writes: all jobs that wait share one transaction. `after_commit` is called in the thread, right after it."""

    # It waits in `begin`.
    _busy_seconds = 0.0

    def __init__(
        self, name: str, file: FileOptions, limit_seconds: float, after_commit: Callable[[sqlite3.Connection], None]
    ) -> None:
        self._after_commit = after_commit
        super().__init__(name, file, limit_seconds)

    def _execute(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> list[Any]:
        begin(connection, max(0.0, min(job.deadline for job in jobs) - time.monotonic()))
        results = [job.work(connection) for job in jobs]
        connection.execute("COMMIT")
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
    """Each waiter gets an exception of its own: a traceback belongs to one task."""
    if isinstance(error, Unavailable | BrokerError):
        mine = type(error)(error.message, hint=error.hint)
        mine.__cause__ = error.__cause__
        return mine
    return error
