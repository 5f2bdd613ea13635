"""Statements on PostgreSQL through asyncpg. Imports the base of the SQL adapters and the driver.

Time limits: `statement_timeout`, `lock_timeout` and `idle_in_transaction_session_timeout` are settings of the session.
Behind a proxy that pools transactions they are set with `SET LOCAL`, in the same round trip as BEGIN: such a proxy
keeps no settings. Each call also has a longer limit in this process, for a connection that broke unnoticed.

BEGIN goes to the server with the first statement of the transaction, or with its COMMIT where there is none
(`begin_message`). On a connection that has been idle for a while, and behind such a proxy, it is a round trip of its
own: it shows whether the connection is still alive, before anything depends on it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import asyncpg

from freehold.adapters.postgres.begin_message import BEGIN, BEGIN_MESSAGE, send
from freehold.adapters.postgres.bound_call import BoundCalls
from freehold.adapters.postgres.errors import TRY_AGAIN, never_carried_out, unreachable, without_query
from freehold.adapters.postgres.literals import call_sql
from freehold.adapters.postgres.tap import TAPS, RowTap
from freehold.adapters.sql.engine.commit_text import FunctionCall
from freehold.adapters.sql.engine.connection import Row
from freehold.adapters.sql.handles.guard import ended_inside
from freehold.database import DatabaseOptions
from freehold.errors import DatabaseError, FreeholdError, OperationTimeout, Unavailable

__all__ = ["AsyncpgConnection", "PerStatementTransactions", "PooledAsyncpg", "time_limits"]

_GRACE_SECONDS = 3.0
_ROLLBACK_SECONDS = 3.0
_ALIVE_SECONDS = 1.0
"""For so long after an answer a connection is taken to be alive."""
_FORGOTTEN = (asyncpg.InvalidSQLStatementNameError, asyncpg.FeatureNotSupportedError)
"""A prepared statement is gone, or does not fit its function any more: the connection must prepare it again."""
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
    """A user's asyncpg connection, in the user's transaction.

    _due         BEGIN is still to be sent, with the next statement.
    _unanswered  BEGIN was sent, and nothing has come back yet: asyncpg does not know of the transaction.
    """

    def __init__(self, driver: asyncpg.Connection[Any], options: DatabaseOptions) -> None:
        self._driver = driver
        self._due = False
        self._unanswered = False
        self._seconds = options.statement_timeout_seconds + _GRACE_SECONDS

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched."""
        if self._due:
            sql = self._begin_with(sql, as_text=not parameters)
        try:
            status = await self._driver.execute(sql, *parameters, timeout=self._seconds)
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:
            raise self._diagnosed(error) from error
        self._unanswered = False
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        if self._due:
            sql = self._begin_with(sql)
        try:
            rows: Sequence[Row] = await self._driver.fetch(sql, *parameters, timeout=self._seconds)
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:
            raise self._diagnosed(error) from error
        self._unanswered = False
        return rows

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, pipelined."""
        if self._due:
            sql = self._begin_with(sql)
        try:
            await self._driver.executemany(sql, rows, timeout=self._seconds)
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:
            raise self._diagnosed(error) from error
        self._unanswered = self._unanswered and not rows

    def _begin_with(self, sql: str, *, as_text: bool = False) -> str:
        """Send BEGIN ahead of a statement; returns the text to send, which has it where that `as_text` is all."""
        self._due, self._unanswered = False, True
        if as_text:
            return f"{BEGIN}; {sql}"
        if not self._driver.is_closed():
            send(self._driver, BEGIN_MESSAGE)
        return sql

    def _interrupted(self) -> None:
        """Called when a statement was cancelled before its response came."""

    def _diagnosed(self, error: Exception) -> FreeholdError:
        return unreachable(error) or DatabaseError(f"asyncpg failed: {type(error).__name__}")


class PooledAsyncpg(AsyncpgConnection):
    """A connection of Freehold's pool."""

    def __init__(self, driver: asyncpg.Connection[Any], options: DatabaseOptions, *, proxied: bool) -> None:
        super().__init__(driver, options)
        limits = "; ".join(f"SET LOCAL {name} = {value}" for name, value in time_limits(options).items())
        self._begin = f"{BEGIN}; {limits}" if proxied else BEGIN
        self._folds = TAPS and not proxied
        self._calls = BoundCalls()
        self._answered_at = time.monotonic()
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
        seen = self._driver.is_in_transaction()
        self._unanswered = self._unanswered and not seen  # SQLAlchemy's statements bring an answer, too
        return seen or self._due or self._unanswered or self._driver.is_closed()

    @property
    def broken(self) -> bool:
        """Whether it is closed, a transaction was left open, or its last call got no response."""
        return self._suspect or self._unanswered or self._driver.is_closed() or self._driver.is_in_transaction()

    def allow(self, seconds: float) -> None:
        """Set another time limit for this transaction: migrations run longer than business transactions."""
        self._seconds = seconds + _GRACE_SECONDS

    async def begin(self) -> None:
        """Begin a transaction and set its time limits: in one round trip, or with the first statement."""
        self._seconds = self._usual_seconds
        self._began = None
        recent = time.monotonic() - self._answered_at < _ALIVE_SECONDS
        if self._folds and recent and not self._driver.is_closed():
            self._due = True
            return
        try:
            await self._driver.execute(self._begin, timeout=self._begin_seconds)
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except Exception as error:
            raise self._diagnosed(error) from error

    def begin_now(self) -> None:
        """Send BEGIN if that is still to be done: the next statement does not pass here."""
        if self._due:
            self._begin_with("")

    async def begin_known(self) -> None:
        """Have BEGIN answered: asyncpg opens a cursor only in a transaction that it knows of."""
        if self.is_in_transaction() and not self._driver.is_in_transaction():
            await self.fetch(_BEGAN)

    async def commit(self) -> None:
        """Commit. Raises `DatabaseError` for a failed transaction: the server answers its COMMIT with ROLLBACK."""
        await self._commit()

    async def commit_after(self, calls: Sequence[FunctionCall]) -> Sequence[str]:
        """Carry out calls and commit, in one round trip; returns their results. Raises as `commit` does, and the error
        of a call that failed: the server skips what follows it.

        Behind a proxy that pools transactions the values are written into one text: it keeps no prepared statements.
        """
        if not self._folds:
            tap = RowTap(self._driver)
            await self._commit(tap, [call_sql(call.function, call.arguments, call.types) for call in calls])
            return tap.values
        messages = self._calls.messages(calls)
        tap = RowTap(self._driver, ahead=len(calls) + (self._due or self._unanswered))
        try:
            await self._commit(tap, messages=messages, calls=len(calls))
        except BaseException:
            self._calls.failed()
            raise
        self._calls.succeeded()
        return tap.values

    async def _commit(
        self,
        tap: AbstractContextManager[object] = _NOTHING,
        statements: Sequence[str] = (),
        messages: bytes = b"",
        calls: int = 0,
    ) -> None:
        if self._driver.is_closed():
            raise _lost_before_commit()
        if not self.is_in_transaction() or not await self._is_the_same():
            raise ended_inside()
        text = "; ".join((*statements, "COMMIT"))
        if self._due and messages:
            self.begin_now()
        elif self._due:
            text = self._begin_with(text, as_text=True)
        seconds = self._seconds * (1 + len(statements) + calls)
        try:
            with tap:
                if messages:
                    send(self._driver, messages)
                status = await self._driver.execute(text, timeout=seconds)
        except Exception as error:
            raise self._not_committed(error) from error
        self._unanswered = False
        if status != "COMMIT":
            raise _failed_before()
        self._answered_at = time.monotonic()

    def _not_committed(self, error: Exception) -> FreeholdError:
        """What an error of the driver's says about a commit."""
        without_query(error)
        if isinstance(error, _FORGOTTEN):
            self._suspect = True
        known = self._diagnosed(error)
        if never_carried_out(error):
            return _lost_before_commit()
        if isinstance(error, asyncpg.InFailedSQLTransactionError):
            return _failed_before()
        if isinstance(known, Unavailable) and not self._refused(error):
            return Unavailable(
                "the response to COMMIT was lost, and its outcome is not known",
                hint="check whether it was committed before trying again",
            )
        return known

    def _refused(self, error: Exception) -> bool:
        """Whether the server answered with an error and left the transaction open, so that it did not commit. It
        carries out its time limits in this way, too.
        """
        return getattr(error, "severity_en", None) == _ERROR and self._driver.is_in_transaction()

    def doubt(self) -> None:
        """Send BEGIN alone next time: another connection of the pool was lost."""
        self._answered_at = -math.inf

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
        self._due = False
        if self._driver.is_closed() or not self.is_in_transaction():
            return
        try:
            await self._driver.execute("ROLLBACK", timeout=_ROLLBACK_SECONDS)
            self._unanswered = False
            self._answered_at = time.monotonic()
        except Exception:  # noqa: BLE001 - after any error the connection is not used again
            self._suspect = True

    async def abort(self) -> None:
        """Close the socket at once."""
        self._driver.terminate()

    def _interrupted(self) -> None:
        """After a cancelled direct statement, do not use the connection again: the next user would first wait for the
        response to this statement. Inside a transaction the ROLLBACK shows whether the server still responds.
        """
        if not self.is_in_transaction():
            self._suspect = True

    def _diagnosed(self, error: Exception) -> FreeholdError:
        if getattr(error, "severity_en", None) is not None:  # asyncpg raises some of the server's errors by itself
            self._unanswered = False
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
