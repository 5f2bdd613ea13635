"""Statements on SQLite through aiosqlite. Imports the SQL base, the driver.

Each is one hop to the connection's thread, but those of our own transactions: they run where the caller is, between a
BEGIN and a COMMIT that hop (see `inline`). A statement that runs too long is interrupted. One that was cancelled ends
in its thread before the next begins, so a rollback that follows is never overtaken.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import aiosqlite

from freehold.adapters.sql.connection import Row
from freehold.adapters.sql.control import Verb, controls
from freehold.adapters.sql.enlist import question_marks
from freehold.adapters.sql.guard import ended_inside
from freehold.adapters.sql.pool import PooledConnection
from freehold.adapters.sqlite.errors import diagnose
from freehold.adapters.sqlite.inline import InlineConnection
from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, DatabaseError, FreeholdError, OperationTimeout, Unavailable

__all__ = ["AiosqliteConnection", "JoinedAiosqlite", "PooledAiosqlite", "QueuedWrites"]

T = TypeVar("T")


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
            if isinstance(self._driver, InlineConnection) and self._driver.inline:
                return await work
            async with asyncio.timeout(self._seconds):
                return await work
        except TimeoutError as error:
            await self._driver.interrupt()
            raise OperationTimeout("a statement ran longer than statement_timeout_seconds") from error
        except (sqlite3.Error, ValueError) as error:
            raise diagnose(error) or DatabaseError(f"aiosqlite failed: {type(error).__name__}") from error


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

    def __init__(self, driver: InlineConnection, options: DatabaseOptions) -> None:
        super().__init__(driver, options)
        self._inline = driver
        self._lock_seconds = options.lock_timeout_seconds
        self._usual_seconds = options.statement_timeout_seconds
        self._suspect = False
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
        own thread: it would hold up the event loop otherwise.
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
                f"another process held the write lock longer than {self._lock_seconds} s",
                hint="keep transactions short; raise lock_timeout_seconds",
            ) from error

    async def commit(self) -> None:
        """COMMIT, and see that there is something to commit: the transaction that was begun."""
        self._inline.inline = False
        traced = self._stop_tracing()
        if not self._in_transaction() or any(each.verb is Verb.ENDS for sql in traced for each in controls(sql)):
            raise ended_inside()
        await self.execute("COMMIT")

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
        """Interrupt what runs; the pool closes the connection, which rolls back."""
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
    """Direct statements that wait for the process's own writers in order, before they compete for SQLite's lock."""

    def __init__(self, pooled: PooledConnection, writing: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._pooled = pooled
        self._writing = writing

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement that writes; returns the number of rows it touched."""
        async with self._writing():
            return await self._pooled.execute(sql, parameters)

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; one that begins with SELECT reads, and waits for nobody."""
        if sql.lstrip().startswith("SELECT"):
            return await self._pooled.fetch(sql, parameters)
        async with self._writing():
            return await self._pooled.fetch(sql, parameters)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters."""
        async with self._writing():
            await self._pooled.execute_many(sql, rows)
