"""Statements on SQLite through aiosqlite. Imports the SQL base, the driver.

Each is one hop to the connection's thread, but those of our own transactions: they run where the caller is, between a
BEGIN and a COMMIT that hop (see `SyncConnection`). A statement that runs too long is interrupted. One that was
cancelled ends in its thread before the next begins, so a rollback that follows is never overtaken.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiosqlite

from freehold.adapters.sql.engine.connection import Row
from freehold.adapters.sql.engine.enlistment import question_marks
from freehold.adapters.sql.handles.control import Verb, controls
from freehold.adapters.sql.handles.guard import ended_inside
from freehold.adapters.sqlite.errors import translate_error
from freehold.adapters.sqlite.file import ConnectionFiles
from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, DatabaseError, FreeholdError, OperationTimeout, Unavailable

__all__ = ["AiosqliteConnection", "JoinedAiosqlite", "PooledAiosqlite", "QueuedWrites", "SyncConnection", "connect"]

_STEPS_BETWEEN_LOOKS: Final = 20_000
_CHUNK_ROWS: Final = 64

T = TypeVar("T")


class SyncConnection(aiosqlite.Connection):
    """A connection that runs statements where the caller is, while it holds the write lock.

    aiosqlite carries each call to a thread of its own and back: two switches a call, four calls for one statement of
    SQLAlchemy's, and with a busy event loop each switch waits for the interpreter's lock, while the database's only
    write lock is held. Inside a transaction there is nothing to wait for but SQLite itself, so its statements run at
    once, in the event loop's thread; what waits (taking the write lock, the commit's fsync) goes to the thread as
    before.

    A statement that runs too long is interrupted by SQLite's progress handler, which also works where no other thread
    could. `sqlite3` objects may change threads, as long as one call has ended before the next begins: `_execute` goes
    through the thread's queue while anything is in it.

    inline  whether calls run at once; only whoever holds the write lock through it may set it.
    files   those that it works with.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection], statement_timeout_seconds: float) -> None:
        super().__init__(connector, _CHUNK_ROWS)
        self.inline = False
        self.files: ConnectionFiles | None = None
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


async def connect(
    file: str, *, create: bool, lock_timeout_seconds: float, statement_timeout_seconds: float
) -> SyncConnection:
    """Open a connection in autocommit, whose transactions are begun and ended in SQL. `create` makes a file that is
    missing.
    """
    uri = f"file:{quote(file)}?mode={'rwc' if create else 'rw'}"

    def open_file() -> sqlite3.Connection:
        return sqlite3.connect(
            uri,
            uri=True,
            timeout=lock_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )

    connection = SyncConnection(open_file, statement_timeout_seconds)
    # A process that ends must not wait for connections that nobody closed.
    connection._thread.daemon = True  # noqa: SLF001 - SQLAlchemy does the same to connections that it makes
    await connection
    connection.watch()
    return connection


class AiosqliteConnection:
    """An aiosqlite connection in a transaction."""

    def __init__(self, driver: aiosqlite.Connection, options: DatabaseOptions) -> None:
        self._driver = driver
        self._seconds = options.statement_timeout_seconds

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched."""
        cursor = await self._run(self._driver.execute(question_marks(sql), parameters))
        return max(0, cursor.rowcount)

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        return list(await self._run(self._driver.execute_fetchall(question_marks(sql), parameters)))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, in one hop."""
        await self._run(self._driver.executemany(question_marks(sql), rows))

    async def _run(self, work: Awaitable[T]) -> T:
        try:
            if isinstance(self._driver, SyncConnection) and self._driver.inline:
                return await work
            async with asyncio.timeout(self._seconds):
                return await work
        except TimeoutError as error:
            await self._driver.interrupt()
            raise OperationTimeout("a statement ran longer than statement_timeout_seconds") from error
        except (sqlite3.Error, ValueError) as error:
            raise translate_error(error) or DatabaseError(f"aiosqlite failed: {type(error).__name__}") from error


class JoinedAiosqlite(AiosqliteConnection):
    """A user's connection, in their transaction. sqlite3 in its own mode says BEGIN before the first INSERT, UPDATE or
    DELETE only, and not at all after a savepoint, whose release would commit: so it is said here.
    """

    async def _run(self, work: Awaitable[T]) -> T:
        if self._driver.isolation_level is not None and not self._driver.in_transaction:
            await super()._run(self._driver.execute("BEGIN"))
        return await super()._run(work)


class PooledAiosqlite(AiosqliteConnection):
    """A connection of our own pool."""

    def __init__(self, driver: SyncConnection, options: DatabaseOptions) -> None:
        super().__init__(driver, options)
        self._inline = driver
        self._lock_seconds = options.lock_timeout_seconds
        self._usual_seconds = options.statement_timeout_seconds
        self._suspect = False
        self._torn = False
        self._traced: list[str] | None = None

    @property
    def broken(self) -> bool:
        """Closed, or left in a transaction."""
        return self._suspect or self._in_transaction(closed=True)

    @property
    def driver(self) -> aiosqlite.Connection:
        """Aiosqlite's connection."""
        return self._driver

    def is_in_transaction(self) -> bool:
        """Whether the transaction is still there."""
        return self._in_transaction(closed=True)

    def allow(self, seconds: float) -> None:
        """Give the rest of this transaction another time limit. What runs longer than others runs in the connection's
        own thread: it would block the event loop otherwise.
        """
        self._seconds = seconds
        self._inline.inline = False

    async def begin(self) -> None:
        """Take the write lock at once: a transaction that reads first could not take it later without a conflict."""
        self._seconds = self._usual_seconds
        try:
            await self.execute("BEGIN IMMEDIATE")
            self._inline.inline = True
        except (ConcurrencyConflict, Unavailable) as error:
            if not _is_locked(error):
                raise
            raise Unavailable(
                f"the database is locked by another process, for longer than {self._lock_seconds:g} s",
                hint="keep transactions short; raise lock_timeout_seconds",
            ) from error

    async def commit(self) -> None:
        """COMMIT, and see that there is something to commit: the transaction that was begun."""
        self._inline.inline = False
        traced = self._stop_tracing()
        if not self._in_transaction() or any(each.verb is Verb.ENDS for sql in traced for each in controls(sql)):
            raise ended_inside()
        await self.execute("COMMIT")
        self.check_kept()

    def check(self) -> None:
        """Before it is used: raises `Unavailable` where the file at the path is another one by now."""
        self._look(ConnectionFiles.check)

    def check_kept(self) -> None:
        """After a commit: raises `Unavailable` where it went into a file that is not at the path any more."""
        self._look(ConnectionFiles.check_kept)

    def _look(self, check: Callable[[ConnectionFiles], None]) -> None:
        files = self._inline.files
        if files is None:
            return
        try:
            check(files)
        except OSError as error:
            self._suspect = True
            raise Unavailable("the database's file cannot be looked at", hint="is the disk failing?") from error
        except Unavailable:
            self._suspect = True
            self._torn = files.torn
            raise

    async def remember(self) -> None:
        """Have SQLite tell of every statement from now on, whoever sends it."""
        self._traced = []
        await self._driver.set_trace_callback(self._traced.append)

    def _stop_tracing(self) -> Sequence[str]:
        traced, self._traced = self._traced, None
        if traced is None:
            return ()
        self._inline.watch_no_statements()
        return traced

    async def rollback(self) -> None:
        """ROLLBACK, after whatever still runs in the connection's thread."""
        self._inline.inline = False
        self._stop_tracing()
        try:
            await self._driver.rollback()
        except (sqlite3.Error, ValueError):
            self._suspect = True

    async def abort(self) -> None:
        """Interrupt what runs; the pool closes the connection, which rolls back.

        After an interruption SQLite, closing, writes nothing of the `-wal` into the database. It must where only the
        `-wal` was deleted, and must not where the database was emptied.
        """
        if self._torn:
            return
        try:
            await self._driver.interrupt()
        except ValueError:
            self._suspect = True

    def _in_transaction(self, *, closed: bool = False) -> bool:
        try:
            return self._driver.in_transaction
        except ValueError:
            return closed


def _is_locked(error: FreeholdError) -> bool:
    return getattr(error.__cause__, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


class QueuedWrites:
    """Direct statements, each on a connection that is borrowed for it alone.

    One that writes waits for the process's own writers in order, before they compete for SQLite's lock, and takes its
    connection when it is its turn: writers that waited with all connections in hand would leave none to the
    transaction that they wait for.
    """

    def __init__(
        self,
        borrow: Callable[[], AbstractAsyncContextManager[PooledAiosqlite]],
        writing: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._borrow = borrow
        self._writing = writing

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement that writes; returns the number of rows it touched."""
        async with self._writing(), self._borrow() as pooled:
            count = await pooled.execute(sql, parameters)
            pooled.check_kept()
            return count

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; one that begins with SELECT reads, and waits for nobody."""
        if sql.lstrip().startswith("SELECT"):
            async with self._borrow() as pooled:
                return await pooled.fetch(sql, parameters)
        async with self._writing(), self._borrow() as pooled:
            rows = await pooled.fetch(sql, parameters)
            pooled.check_kept()
            return rows

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters."""
        async with self._writing(), self._borrow() as pooled:
            await pooled.execute_many(sql, rows)
            pooled.check_kept()
