"""Statements on PostgreSQL through asyncpg and psycopg. Imports the base of the SQL adapters and the drivers.

Time limits: the server's `statement_timeout`, `lock_timeout` and `idle_in_transaction_session_timeout` are settings of
the session. A proxy that pools transactions keeps none: behind it they are set with `SET LOCAL` in the round trip that
carries BEGIN. Each call has a limit of its own above them, for connections that are dead without either side knowing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from freehold.adapters.postgres.errors import TRY_AGAIN, never_carried_out, unreachable
from freehold.adapters.sql.engine.connection import Row
from freehold.adapters.sql.handles.guard import ended_inside
from freehold.database import DatabaseOptions
from freehold.errors import DatabaseError, FreeholdError, OperationTimeout, Unavailable

__all__ = ["AsyncpgConnection", "PerStatementTransactions", "PooledAsyncpg", "PsycopgConnection", "time_limits"]

_GRACE_SECONDS = 3.0
_ROLLBACK_SECONDS = 3.0
_BEGAN = "SELECT transaction_timestamp()"


def time_limits(options: DatabaseOptions) -> dict[str, str]:
    """The server's own limits, in milliseconds, by the names of its settings."""
    return {
        "statement_timeout": str(round(options.statement_timeout_seconds * 1000)),
        "lock_timeout": str(round(options.lock_timeout_seconds * 1000)),
        "idle_in_transaction_session_timeout": str(round(options.idle_transaction_timeout_seconds * 1000)),
    }


class AsyncpgConnection:
    """A user's asyncpg connection, in their transaction."""

    def __init__(self, driver: asyncpg.Connection[Any], options: DatabaseOptions) -> None:
        self._driver = driver
        self._seconds = options.statement_timeout_seconds + _GRACE_SECONDS

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched."""
        try:
            status = await self._driver.execute(sql, *parameters, timeout=self._seconds)
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:
            raise self._diagnosed(error) from error
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        try:
            rows: Sequence[Row] = await self._driver.fetch(sql, *parameters, timeout=self._seconds)
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:
            raise self._diagnosed(error) from error
        return rows

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, pipelined."""
        try:
            await self._driver.executemany(sql, rows, timeout=self._seconds)
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:
            raise self._diagnosed(error) from error

    def _interrupted(self) -> None:
        """A statement was cancelled before its answer came."""

    def _diagnosed(self, error: Exception) -> FreeholdError:
        return unreachable(error) or DatabaseError(f"asyncpg failed: {type(error).__name__}")


class PooledAsyncpg(AsyncpgConnection):
    """A connection of our own pool."""

    def __init__(self, driver: asyncpg.Connection[Any], options: DatabaseOptions, *, proxied: bool) -> None:
        super().__init__(driver, options)
        limits = "; ".join(f"SET LOCAL {name} = {value}" for name, value in time_limits(options).items())
        self._begin = "BEGIN ISOLATION LEVEL READ COMMITTED" + (f"; {limits}" if proxied else "")
        self._begin_seconds = options.connect_timeout_seconds
        self._usual_seconds = self._seconds
        self._suspect = False
        self._began: object = None

    @property
    def driver(self) -> asyncpg.Connection[Any]:
        """Asyncpg's connection."""
        return self._driver

    def is_in_transaction(self) -> bool:
        """Whether the transaction is still there; a connection that was lost is none that ended it."""
        return self._driver.is_closed() or self._driver.is_in_transaction()

    @property
    def broken(self) -> bool:
        """Closed, left in a transaction, or silent at its last call."""
        return self._suspect or self._driver.is_closed() or self._driver.is_in_transaction()

    def allow(self, seconds: float) -> None:
        """Give this transaction another time limit: migrations run longer than business transactions."""
        self._seconds = seconds + _GRACE_SECONDS

    async def begin(self) -> None:
        """BEGIN and the time limits, in one round trip."""
        self._seconds = self._usual_seconds
        self._began = None
        try:
            await self._driver.execute(self._begin, timeout=self._begin_seconds)
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:
            raise self._diagnosed(error) from error

    async def commit(self) -> None:
        """COMMIT, and see that it was one: a failed transaction answers COMMIT with ROLLBACK."""
        if self._driver.is_closed():
            raise _lost_before_commit()
        if not self._driver.is_in_transaction() or not await self._is_the_same():
            raise ended_inside()
        try:
            status = await self._driver.execute("COMMIT", timeout=self._seconds)
        except Exception as error:
            known = self._diagnosed(error)
            if never_carried_out(error):
                raise _lost_before_commit() from error
            if isinstance(known, Unavailable):
                raise Unavailable(
                    "the answer to COMMIT was lost, and its outcome is not known", hint="look before trying again"
                ) from error
            raise known from error
        if status != "COMMIT":
            raise DatabaseError(
                "the transaction had failed before its end, and was rolled back",
                hint="an error of the database was caught inside the block; use a savepoint around such a statement",
            )

    async def remember(self) -> None:
        """Ask when the transaction began: another one, begun later on the same connection, began at another time."""
        self._began = (await self.fetch(_BEGAN))[0][0]

    async def _is_the_same(self) -> bool:
        if self._began is None:
            return True
        try:
            return bool((await self._driver.fetchval(_BEGAN, timeout=self._seconds)) == self._began)
        except asyncpg.InFailedSQLTransactionError:
            return True
        except Exception as error:
            raise self._diagnosed(error) from error

    async def rollback(self) -> None:
        """ROLLBACK; where it cannot be sent the connection is cut, which rolls back as well."""
        if self._driver.is_closed() or not self._driver.is_in_transaction():
            return
        try:
            await self._driver.execute("ROLLBACK", timeout=_ROLLBACK_SECONDS)
        except Exception:  # noqa: BLE001 - whatever it is, the connection is not used again
            self._suspect = True

    async def abort(self) -> None:
        """Close the socket."""
        self._driver.terminate()

    def _interrupted(self) -> None:
        """Outside of a transaction nothing follows that would show whether the server still answers: whoever had the
        connection next would wait for this answer first. Inside, ROLLBACK shows it.
        """
        if not self._driver.is_in_transaction():
            self._suspect = True

    def _diagnosed(self, error: Exception) -> FreeholdError:
        known = super()._diagnosed(error)
        if isinstance(error, TimeoutError | OSError) or (
            isinstance(known, Unavailable) and not isinstance(known, OperationTimeout)
        ):
            self._suspect = True
        return known


def _lost_before_commit() -> Unavailable:
    return Unavailable("the transaction was rolled back: the connection was lost before COMMIT", hint=TRY_AGAIN)


class PerStatementTransactions:
    """Direct statements behind a transaction-pooling proxy without prepared statements: each in a BEGIN and COMMIT.

    asyncpg prepares and runs a statement in two messages, which such a proxy may send to two servers otherwise.
    """

    def __init__(self, pooled: PooledAsyncpg) -> None:
        self._pooled = pooled

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement in a transaction; returns the number of rows it touched."""
        await self._pooled.begin()
        try:
            count = await self._pooled.execute(sql, parameters)
            await self._pooled.commit()
        finally:
            await self._pooled.rollback()
        return count

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement in a transaction; returns its rows."""
        await self._pooled.begin()
        try:
            rows = await self._pooled.fetch(sql, parameters)
            await self._pooled.commit()
        finally:
            await self._pooled.rollback()
        return rows

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, in one transaction."""
        await self._pooled.begin()
        try:
            await self._pooled.execute_many(sql, rows)
            await self._pooled.commit()
        finally:
            await self._pooled.rollback()


class PsycopgConnection:
    """A user's psycopg connection, in their transaction; its raw cursors take `$1` as it is."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched."""
        async with self._cursor() as cursor:
            await self._run(cursor.execute(sql, parameters or None))
            return max(0, int(cursor.rowcount))

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        async with self._cursor() as cursor:
            await self._run(cursor.execute(sql, parameters or None))
            rows: Sequence[Row] = await cursor.fetchall()
            return rows

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, pipelined."""
        async with self._cursor() as cursor:
            await self._run(cursor.executemany(sql, rows))

    def _cursor(self) -> Any:
        from psycopg import AsyncRawCursor
        from psycopg.rows import tuple_row

        return AsyncRawCursor(self._driver, row_factory=tuple_row)

    async def _run(self, work: Any) -> None:
        try:
            await work
        except Exception as error:
            known = unreachable(error)
            if known is None:
                raise
            raise known from error
