"""Statements on PostgreSQL through asyncpg and psycopg. Imports the base of the SQL adapters and the drivers.

Time limits: `statement_timeout`, `lock_timeout` and `idle_in_transaction_session_timeout` are settings of the session.
Behind a proxy that pools transactions they are set with `SET LOCAL`, in the same round trip as BEGIN: such a proxy
keeps no settings. Each call also has a longer limit in this process, for a connection that broke unnoticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import asyncpg

from freehold.adapters.postgres.errors import TRY_AGAIN, never_carried_out, unreachable, without_query
from freehold.adapters.postgres.tap import RowTap
from freehold.adapters.sql.engine.connection import Row
from freehold.adapters.sql.handles.guard import ended_inside
from freehold.database import DatabaseOptions
from freehold.errors import DatabaseError, FreeholdError, OperationTimeout, Unavailable

__all__ = ["AsyncpgConnection", "PerStatementTransactions", "PooledAsyncpg", "PsycopgConnection", "time_limits"]

_GRACE_SECONDS = 3.0
_ROLLBACK_SECONDS = 3.0
_BEGAN = "SELECT transaction_timestamp()"
_NOTHING = nullcontext()
_ERROR = "ERROR"
"""The severity of an error that does not end the session."""


def time_limits(options: DatabaseOptions) -> dict[str, str]:
    """The server's time limits, in milliseconds, by the names of its settings."""
    return {
        "statement_timeout": str(round(options.statement_timeout_seconds * 1000)),
        "lock_timeout": str(round(options.lock_timeout_seconds * 1000)),
        "idle_in_transaction_session_timeout": str(round(options.idle_transaction_timeout_seconds * 1000)),
    }


class AsyncpgConnection:
    """A user's asyncpg connection, in the user's transaction."""

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
        """Called when a statement was cancelled before its response came."""

    def _diagnosed(self, error: Exception) -> FreeholdError:
        return unreachable(error) or DatabaseError(f"asyncpg failed: {type(error).__name__}")


class PooledAsyncpg(AsyncpgConnection):
    """A connection of Freehold's pool."""

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
        """The connection of asyncpg."""
        return self._driver

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open. True for a lost connection: that is not an end by the user."""
        return self._driver.is_closed() or self._driver.is_in_transaction()

    @property
    def broken(self) -> bool:
        """Whether it is closed, a transaction was left open, or its last call got no response."""
        return self._suspect or self._driver.is_closed() or self._driver.is_in_transaction()

    def allow(self, seconds: float) -> None:
        """Set another time limit for this transaction: migrations run longer than business transactions."""
        self._seconds = seconds + _GRACE_SECONDS

    async def begin(self) -> None:
        """Begin a transaction and set its time limits, in one round trip."""
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
        """Commit. Raises `DatabaseError` for a failed transaction: the server answers its COMMIT with ROLLBACK."""
        await self._commit()

    async def commit_after(self, statements: Sequence[str]) -> Sequence[str]:
        """Run statements, with their values written in, and commit, in one round trip. Each returns one row of one
        column; returns these. Raises as `commit` does, and the error of a statement that failed: the server skips what
        follows it.
        """
        tap = RowTap(self._driver)
        await self._commit(statements, tap)
        return tap.values

    async def _commit(self, statements: Sequence[str] = (), tap: AbstractContextManager[object] = _NOTHING) -> None:
        if self._driver.is_closed():
            raise _lost_before_commit()
        if not self._driver.is_in_transaction() or not await self._is_the_same():
            raise ended_inside()
        seconds = self._seconds * (1 + len(statements))
        try:
            with tap:
                status = await self._driver.execute("; ".join((*statements, "COMMIT")), timeout=seconds)
        except Exception as error:
            without_query(error)
            known = self._diagnosed(error)
            if never_carried_out(error):
                raise _lost_before_commit() from error
            if isinstance(error, asyncpg.InFailedSQLTransactionError):
                raise _failed_before() from error
            if isinstance(known, Unavailable) and not self._refused(error):
                raise Unavailable(
                    "the response to COMMIT was lost, and its outcome is not known",
                    hint="check whether it was committed before trying again",
                ) from error
            raise known from error
        if status != "COMMIT":
            raise _failed_before()

    def _refused(self, error: Exception) -> bool:
        """Whether the server answered with an error and left the transaction open, so that it did not commit. It
        carries out its time limits in this way, too.
        """
        return getattr(error, "severity_en", None) == _ERROR and self._driver.is_in_transaction()

    async def remember(self) -> None:
        """Read the time when the transaction began: a later transaction on the connection has another one."""
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
        """Roll back; where that fails the connection is closed, and the server rolls back."""
        if self._driver.is_closed() or not self._driver.is_in_transaction():
            return
        try:
            await self._driver.execute("ROLLBACK", timeout=_ROLLBACK_SECONDS)
        except Exception:  # noqa: BLE001 - after any error the connection is not used again
            self._suspect = True

    async def abort(self) -> None:
        """Close the socket at once."""
        self._driver.terminate()

    def _interrupted(self) -> None:
        """After a cancelled direct statement, do not use the connection again: the next user would first wait for the
        response to this statement. Inside a transaction the ROLLBACK shows whether the server still responds.
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


def _failed_before() -> DatabaseError:
    return DatabaseError(
        "a statement of the transaction had failed, and the transaction was rolled back",
        hint="the error was caught inside the block; use a savepoint around a statement that may fail",
    )


def _lost_before_commit() -> Unavailable:
    return Unavailable("the transaction was rolled back: the connection was lost before COMMIT", hint=TRY_AGAIN)


class PerStatementTransactions:
    """Runs direct statements behind a proxy that pools transactions, each in a transaction of its own.

    asyncpg prepares and executes a statement in two messages. Outside of a transaction such a proxy may send them to
    two different server connections.
    """

    def __init__(self, pooled: PooledAsyncpg) -> None:
        self._pooled = pooled

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement in a transaction; returns the number of rows that it changed."""
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
    """A user's psycopg connection, in the user's transaction; a raw cursor takes `$1` unchanged."""

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
