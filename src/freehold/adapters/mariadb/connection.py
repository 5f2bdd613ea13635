"""Statements on MariaDB through asyncmy. Imports the base of the SQL adapters and the driver.

Time limits: the server's `max_statement_time`, `innodb_lock_wait_timeout` and `idle_transaction_timeout` are settings
of the session. Each call has a limit of its own above them, for connections that are dead without either side knowing.
The answer to a call that was cancelled would come to whoever calls next: its connection is not used again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from asyncmy.connection import Connection

from freehold.adapters.mariadb.errors import ENDS, number_of, unreachable
from freehold.adapters.mariadb.statements import rendered
from freehold.adapters.sql.engine.connection import Row
from freehold.adapters.sql.handles.guard import ended_inside
from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, DatabaseError, FreeholdError, OperationTimeout, Unavailable

__all__ = ["AsyncmyConnection", "PooledAsyncmy", "session_settings"]

_GRACE_SECONDS: Final = 3.0
_ROLLBACK_SECONDS: Final = 3.0
_BEGUN: Final = "freehold_begun"
_NO_SAVEPOINT: Final = 1305

T = TypeVar("T")


def session_settings(options: DatabaseOptions) -> str:
    """The statement that prepares a session: strict types, UTC, and the server's own time limits, in whole seconds."""
    lock_seconds = max(1, math.ceil(options.lock_timeout_seconds))
    settings = {
        # NO_AUTO_VALUE_ON_ZERO: SQLAlchemy makes AUTO_INCREMENT of a key that is a number, and 0 is a key like others.
        "sql_mode": "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO,"
        "PIPES_AS_CONCAT'",
        "time_zone": "'+00:00'",
        "tx_isolation": "'READ-COMMITTED'",
        "max_statement_time": f"{options.statement_timeout_seconds:.3f}",
        "innodb_lock_wait_timeout": str(lock_seconds),
        "lock_wait_timeout": str(lock_seconds),
        "idle_transaction_timeout": str(math.ceil(options.idle_transaction_timeout_seconds)),
    }
    return "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in settings.items())


class AsyncmyConnection:
    """A user's asyncmy connection, in their transaction."""

    def __init__(self, driver: Connection, options: DatabaseOptions, packet_bytes_max: int = 2**24) -> None:
        self._driver = driver
        self._seconds = options.statement_timeout_seconds + _GRACE_SECONDS
        self._packet_bytes_max = packet_bytes_max

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched, those that it left as they were included."""
        statement, values = rendered(sql, parameters)
        cursor = self._driver.cursor()
        self._check_size(cursor, statement, values)
        await self._run(cursor.execute(statement, values))
        await self._drain(cursor)
        return max(0, cast("int", cursor.rowcount))

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows, of a compound one those of its first result."""
        statement, values = rendered(sql, parameters)
        cursor = self._driver.cursor()
        self._check_size(cursor, statement, values)
        await self._run(cursor.execute(statement, values))
        rows: Sequence[Row] = await cursor.fetchall()
        await self._drain(cursor)
        return rows or []

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters; those of an INSERT go together."""
        if not rows:
            return
        cursor = self._driver.cursor()
        given = [rendered(sql, row) for row in rows]
        for statement, values in given:
            self._check_size(cursor, statement, values)
        await self._run(cursor.executemany(given[0][0], [values or {} for _, values in given]))

    async def _drain(self, cursor: Any) -> None:
        """Hear of what a compound statement did after its rows: an error there would come with the next call."""
        while await self._run(cursor.nextset()):
            pass

    def _check_size(self, cursor: Any, statement: str, values: Mapping[str, object] | None) -> None:
        """The server drops the connection at a statement that is larger than `max_allowed_packet`."""
        given = sum(len(value) for value in (values or {}).values() if isinstance(value, str | bytes))
        if 2 * given + len(statement) < self._packet_bytes_max:
            return
        size = len(cursor.mogrify(statement, values).encode("utf-8", "surrogateescape")) + 1
        if size >= self._packet_bytes_max:
            raise DatabaseError(
                f"a statement of {size} bytes is larger than max_allowed_packet ({self._packet_bytes_max})",
                hint="raise max_allowed_packet on the server, or write less at once",
            )

    async def _run(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await work
        except asyncio.CancelledError:
            self._interrupted()
            raise
        except FreeholdError:
            raise
        except Exception as error:
            raise self._diagnosed(error) from error

    def _interrupted(self) -> None:
        """A statement was cancelled before its answer came."""

    def _diagnosed(self, error: Exception) -> FreeholdError:
        return unreachable(error) or DatabaseError(f"asyncmy failed: {type(error).__name__}")


class PooledAsyncmy(AsyncmyConnection):
    """A connection of our own pool."""

    def __init__(self, driver: Connection, options: DatabaseOptions, packet_bytes_max: int) -> None:
        super().__init__(driver, options, packet_bytes_max)
        self._begin_seconds = options.connect_timeout_seconds
        self._usual_seconds = self._seconds
        self._suspect = False
        self._begun = False
        self._remembered = False
        self._ended_by: int | None = None

    @property
    def driver(self) -> Connection:
        """Asyncmy's connection."""
        return self._driver

    def is_in_transaction(self) -> bool:
        """Whether the transaction is still there; a connection that was lost is none that ended it. A lock timeout
        undoes one statement only, and counts as the end all the same: half of a transaction must not commit.
        """
        if not self._driver.connected:
            return True
        return self._ended_by is None and bool(self._driver.get_transaction_status())

    @property
    def broken(self) -> bool:
        """Closed, left in a transaction, or silent at its last call."""
        return self._suspect or not self._driver.connected or bool(self._driver.get_transaction_status())

    def allow(self, seconds: float) -> None:
        """Give this transaction another time limit: migrations run longer than business transactions."""
        self._seconds = seconds + _GRACE_SECONDS

    async def begin(self) -> None:
        """START TRANSACTION, with the isolation of the session."""
        self._seconds = self._begin_seconds
        self._remembered, self._ended_by = False, None
        try:
            await self._run(self._send("START TRANSACTION"))
        finally:
            self._seconds = self._usual_seconds
        self._begun = True

    async def commit(self) -> None:
        """COMMIT, and see that it is one: a statement that defines tables has committed before, implicitly."""
        if not self._driver.connected:
            raise _lost_before_commit()
        if self._ended_by is not None:
            raise ConcurrencyConflict(
                f"the transaction had failed before its end, and was rolled back ({self._ended_by})",
                hint="try it again",
            )
        if not self._driver.get_transaction_status():
            raise ended_inside()
        await self._see_that_it_is_the_same()
        try:
            await self._run(self._send("COMMIT"))
        except Unavailable as error:
            self._suspect = True
            raise Unavailable(
                "the answer to COMMIT was lost, and its outcome is not known", hint="look before trying again"
            ) from error
        self._begun = False

    def begin_now(self) -> None:
        """Do nothing: `begin` has begun it."""

    async def begin_known(self) -> None:
        """Do nothing: `begin` has begun it."""

    def doubt(self) -> None:
        """Do nothing: `begin` always finds out."""

    async def remember(self) -> None:
        """Set a savepoint: another transaction, begun later on the same connection, does not have it."""
        await self.execute(f"SAVEPOINT {_BEGUN}")
        self._remembered = True

    async def _see_that_it_is_the_same(self) -> None:
        if not self._remembered:
            return
        try:
            await self.execute(f"RELEASE SAVEPOINT {_BEGUN}")
        except DatabaseError as error:
            if number_of(error.__cause__ or error) == _NO_SAVEPOINT:
                raise ended_inside() from error
            raise

    async def rollback(self) -> None:
        """ROLLBACK; where it cannot be sent the connection is cut, which rolls back as well."""
        if not self._driver.connected or not (self._begun or self._driver.get_transaction_status()):
            return
        try:
            async with asyncio.timeout(_ROLLBACK_SECONDS):
                await self._send("ROLLBACK")
        except Exception:  # noqa: BLE001 - whatever it is, the connection is not used again
            self._suspect = True
        self._begun, self._ended_by = False, None

    async def abort(self) -> None:
        """Close the socket."""
        self._driver.close()

    async def _send(self, sql: str) -> None:
        await self._driver.query(sql)  # type: ignore[no-untyped-call] # of asyncmy

    def failed_with(self, error: BaseException) -> None:
        """Note an error of a statement that a user has run past this object, on the same connection."""
        number = number_of(error)
        if self._begun and number in ENDS:
            self._ended_by = number

    def _interrupted(self) -> None:
        self._suspect = True

    def _diagnosed(self, error: Exception) -> FreeholdError:
        known = super()._diagnosed(error)
        self.failed_with(error)
        if isinstance(error, TimeoutError | OSError) or (
            isinstance(known, Unavailable) and not isinstance(known, OperationTimeout)
        ):
            self._suspect = True
        return known


def _lost_before_commit() -> Unavailable:
    return Unavailable("the transaction was rolled back: the connection was lost before COMMIT", hint="try again")
