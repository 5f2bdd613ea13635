"""Statements on SQLite through aiosqlite. Imports the SQL base, the driver.

A statement is one call in the connection's thread. Statements of Freehold's own transactions run in the caller's thread
instead; only their BEGIN and COMMIT use the connection's thread (see `SyncConnection`). A statement that runs too long
is interrupted. A cancelled statement ends in its thread before the next one begins, so a rollback never runs before it.
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
    """A connection that runs statements in the caller's thread while it holds the write lock.

    aiosqlite runs each call in a thread of its own: two thread switches a call, and four calls for one statement of
    SQLAlchemy. In a busy process each switch waits for the interpreter's lock, while the database's only write lock is
    held. Inside a transaction a statement waits for nothing but SQLite itself, so it runs at once, in the event loop's
    thread. Calls that wait (for the write lock, for the commit's fsync) still run in the connection's thread.

    SQLite's progress handler interrupts a statement that runs too long; it needs no other thread. `sqlite3` objects may
    be used from several threads if one call has ended before the next begins: while a call is in the thread's queue,
    `_execute` puts the next one there, too.

    inline  whether calls run at once; only the task that holds the write lock through it may set it.
    files   the files that it has open.
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
        """Run a call; aiosqlite sends every call through this method."""
        if not self.inline or self._sent != self._ended or self._connection is None:
            return await self._in_thread(fn, *args, **kwargs)
        self._deadline = time.monotonic() + self._seconds
        try:
            return fn(*args, **kwargs)
        finally:
            self._deadline = None

    async def _in_thread(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a call in the connection's thread.

        `_sent` is changed only in the loop's thread, `_ended` only in the connection's: no lock is needed.
        """
        if not self._running or self._connection is None:
            raise ValueError("Connection closed")  # aiosqlite's own text, which `translate_error` knows

        def run() -> Any:
            try:
                return fn(*args, **kwargs)
            finally:
                self._ended += 1

        self._sent += 1
        execute: Callable[..., Awaitable[Any]] = super()._execute
        return await execute(run)

    def watch(self) -> None:
        """Make SQLite check the time limit of a statement every `_STEPS_BETWEEN_LOOKS` steps of its virtual machine."""
        self._conn.set_progress_handler(self._overdue, _STEPS_BETWEEN_LOOKS)

    def watch_no_statements(self) -> None:
        """Stop SQLite's reports of statements."""
        self._conn.set_trace_callback(None)

    def _overdue(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline


async def connect(
    file: str, *, create: bool, lock_timeout_seconds: float, statement_timeout_seconds: float
) -> SyncConnection:
    """Open a connection in autocommit mode; transactions begin and end by SQL. `create` makes a missing file."""
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
    # At its end a process must not wait for connections that were not closed.
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
        """Run a statement; returns the number of rows that it changed."""
        cursor = await self._run(self._driver.execute(question_marks(sql), parameters))
        return max(0, cursor.rowcount)

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        return list(await self._run(self._driver.execute_fetchall(question_marks(sql), parameters)))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, in one call of the driver."""
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
    """A user's connection, in the user's transaction. It executes BEGIN where the connection is in none.

    In its own transaction mode sqlite3 executes BEGIN only before the first INSERT, UPDATE or DELETE, and not at all
    after a SAVEPOINT. The release of that savepoint would then commit.
    """

    async def _run(self, work: Awaitable[T]) -> T:
        if self._driver.isolation_level is not None and not self._driver.in_transaction:
            await super()._run(self._driver.execute("BEGIN"))
        return await super()._run(work)


class PooledAiosqlite(AiosqliteConnection):
    """A connection of Freehold's pool."""

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
        """Whether it is closed, or a transaction was left open."""
        return self._suspect or self._in_transaction(closed=True)

    @property
    def driver(self) -> aiosqlite.Connection:
        """The connection of aiosqlite."""
        return self._driver

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open; true for a closed connection."""
        return self._in_transaction(closed=True)

    def allow(self, seconds: float) -> None:
        """Set another time limit for the rest of this transaction. Its statements run in the connection's thread from
        now on: a long one would block the event loop.
        """
        self._seconds = seconds
        self._inline.inline = False

    async def begin(self) -> None:
        """Begin with the write lock. A transaction that reads first may get a conflict when it acquires it later."""
        self._seconds = self._usual_seconds
        try:
            await self.execute("BEGIN IMMEDIATE")
            self._inline.inline = True
        except (ConcurrencyConflict, Unavailable) as error:
            if not _is_locked(error):
                raise
            raise Unavailable(
                f"the database is locked by another process for longer than {self._lock_seconds:g} s",
                hint="keep transactions short; raise lock_timeout_seconds",
            ) from error

    async def commit(self) -> None:
        """Commit; raises `TransactionMisused` where the transaction that was begun is no longer open."""
        self._inline.inline = False
        traced = self._stop_tracing()
        if not self._in_transaction() or any(each.verb is Verb.ENDS for sql in traced for each in controls(sql)):
            raise ended_inside()
        await self.execute("COMMIT")
        self.check_kept()

    def check(self) -> None:
        """Before a use: raise `Unavailable` where the file at the path is now another one."""
        self._look(ConnectionFiles.check)

    def check_kept(self) -> None:
        """After a commit: raise `Unavailable` where it went into a file that is no longer at the path."""
        self._look(ConnectionFiles.check_kept)

    def _look(self, check: Callable[[ConnectionFiles], None]) -> None:
        files = self._inline.files
        if files is None:
            return
        try:
            check(files)
        except OSError as error:
            self._suspect = True
            raise Unavailable("the database's file cannot be inspected", hint="is the disk failing?") from error
        except Unavailable:
            self._suspect = True
            self._torn = files.torn
            raise

    def begin_now(self) -> None:
        """Do nothing: `begin` has begun it."""

    async def begin_known(self) -> None:
        """Do nothing: `begin` has begun it."""

    def doubt(self) -> None:
        """Do nothing: `begin` always finds out."""

    async def remember(self) -> None:
        """Record every statement from now on, so that `commit` finds one that ended the transaction."""
        self._traced = []
        await self._driver.set_trace_callback(self._traced.append)

    def _stop_tracing(self) -> Sequence[str]:
        traced, self._traced = self._traced, None
        if traced is None:
            return ()
        self._inline.watch_no_statements()
        return traced

    async def rollback(self) -> None:
        """Roll back, after the calls that are still in the connection's thread."""
        self._inline.inline = False
        self._stop_tracing()
        try:
            await self._driver.rollback()
        except (sqlite3.Error, ValueError):
            self._suspect = True

    async def abort(self) -> None:
        """Interrupt the running statement. The pool then closes the connection, which rolls back.

        After an interruption SQLite does not checkpoint the `-wal` into the database when it closes. Where only the
        `-wal` was deleted it must checkpoint (so nothing is interrupted); where the database was emptied it must not.
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
    """Runs direct statements, each on a connection of the pool that it borrows.

    A writing statement first waits in the queue of this process's writers, and borrows a connection only when it is its
    turn. Waiting writers that hold all connections would leave none for the transaction that they wait for.
    """

    def __init__(
        self,
        borrow: Callable[[], AbstractAsyncContextManager[PooledAiosqlite]],
        writing: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._borrow = borrow
        self._writing = writing

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement that writes; returns the number of rows that it changed."""
        async with self._writing(), self._borrow() as pooled:
            count = await pooled.execute(sql, parameters)
            pooled.check_kept()
            return count

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows. One that begins with SELECT only reads, and does not wait for writers."""
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
