"""An aiosqlite connection that runs statements where the caller is, while it holds the write lock.

aiosqlite carries each call to a thread of its own and back: two switches a call, four calls for one statement of
SQLAlchemy's, and with a busy event loop each switch waits for the interpreter's lock, while the database's only write
lock is held. Inside a transaction there is nothing to wait for but SQLite itself, so its statements run at once, in the
event loop's thread; what waits (taking the write lock, the commit's fsync) goes to the thread as before.

A statement that runs too long is interrupted by SQLite's progress handler, which also works where no other thread
could. `sqlite3` objects may change threads, as long as one call has ended before the next begins: `_execute` goes
through the thread's queue while anything is in it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiosqlite

__all__ = ["InlineConnection", "connect"]

_STEPS_BETWEEN_LOOKS: Final = 20_000
_CHUNK_ROWS: Final = 64


class InlineConnection(aiosqlite.Connection):
    """`inline` says whether calls run at once; only whoever holds the write lock through it may set it."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], statement_timeout_seconds: float) -> None:
        super().__init__(connector, _CHUNK_ROWS)
        self.inline = False
        self._sent = 0
        self._ended = 0
        self._seconds = statement_timeout_seconds
        self._deadline: float | None = None

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Every call of aiosqlite comes through here."""
        if not self.inline or self._sent != self._ended or self._connection is None:
            return await self._in_thread(fn, *args, **kwargs)
        self._deadline = time.monotonic() + self._seconds
        try:
            return fn(*args, **kwargs)
        finally:
            self._deadline = None

    async def _in_thread(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Only the loop's thread counts what is sent, only the connection's what has ended: no lock is needed."""
        if not self._running or self._connection is None:
            raise ValueError("Connection closed")  # in aiosqlite's own words, which are diagnosed

        def run() -> Any:
            try:
                return fn(*args, **kwargs)
            finally:
                self._ended += 1

        self._sent += 1
        execute: Callable[..., Awaitable[Any]] = super()._execute
        return await execute(run)

    def watch(self) -> None:
        """Have SQLite look at the time every so many steps of its machine."""
        self._conn.set_progress_handler(self._overdue, _STEPS_BETWEEN_LOOKS)

    def watch_no_statements(self) -> None:
        """Have SQLite tell no more of statements."""
        self._conn.set_trace_callback(None)

    def _overdue(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline


async def connect(file: str, *, lock_timeout_seconds: float, statement_timeout_seconds: float) -> InlineConnection:
    """Open a connection in autocommit, whose transactions are begun and ended in SQL."""

    def open_file() -> sqlite3.Connection:
        return sqlite3.connect(
            file, timeout=lock_timeout_seconds, isolation_level=None, check_same_thread=False, cached_statements=256
        )

    connection = InlineConnection(open_file, statement_timeout_seconds)
    # A process that ends must not wait for connections that nobody closed.
    connection._thread.daemon = True  # noqa: SLF001 - SQLAlchemy does the same to connections that it makes
    await connection
    connection.watch()
    return connection
