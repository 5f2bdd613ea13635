"""The port of engines that speak SQL: statements of the user's, in a transaction or each in its own. Port: imports the
foundation and the database port.

Patterns use ports of their own. This one is for the user's code: `tx.sql`, the handlers of projections, and code that
reads a service's tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, cast

from freehold.database import DatabaseTransaction
from freehold.errors import DeclarationError
from freehold.ports import Port

__all__ = ["SQL", "Row", "SqlAccess", "SqlConnection", "SqlTransaction", "sql_of"]

Row = Sequence[Any]


class SqlConnection(Protocol):
    """A connection of an SQL database, whichever driver it belongs to.

    An implementation keeps:

    1. It begins and ends no transaction. In a database transaction its statements are part of that one; on a
       connection of `SqlAccess.direct` each statement commits by itself.
    2. Statements run in the order of the calls, each in one round trip.
    3. Placeholders are numbered (`$1`) on every engine. One may be used twice, and its value may be None.
    4. In a database transaction `execute_many` writes all rows or none: if one is refused, those before it are not
       written either.
    5. Errors are those that `Database.translate_error` makes, without values; the connection can be used afterwards.
    6. Once its block or its transaction has ended, each call raises `TransactionEnded`, and does not reach another
       transaction.
    """

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of affected rows."""

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement (also DML with RETURNING); returns its rows."""

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, in order, pipelined where the driver can."""


class SqlTransaction(DatabaseTransaction, Protocol):
    """A database transaction on an SQL database."""

    @property
    def sql(self) -> SqlConnection:
        """A connection in the same transaction as `native`, without the layers of SQLAlchemy."""


class SqlAccess(Protocol):
    """The access to a service's own database by statements in SQL.

    An implementation keeps:

    1. Each statement of `direct` commits by itself: others see it while the block is still open, and a later error
       does not undo it.
    2. Inside a database transaction the same statements belong to that transaction (`sql_of`), and end with it.
    3. The wait for a connection is bounded: `Unavailable` after that.
    4. A connection that is used after its block raises `TransactionEnded`, and does not reach another transaction.
    """

    def direct(self) -> AbstractAsyncContextManager[SqlConnection]:
        """A connection on which each statement commits by itself: for reads, and for writes that are one statement.

        Entering raises `Unavailable` if no connection is free in time. Errors of the engine are raised as
        `Database.translate_error` translates them.
        """


SQL: Final[Port[SqlAccess]] = Port("sql", "statements in SQL", SqlAccess, "freehold.conformance.sql:SqlConformance")


def sql_of(db_tx: DatabaseTransaction) -> SqlConnection:
    """The SQL side of a database transaction. Raises `DeclarationError` on a database that does not speak SQL."""
    if not hasattr(db_tx, "sql"):
        raise DeclarationError("this database does not speak SQL", hint="use tx.connection")
    return cast("SqlTransaction", db_tx).sql
