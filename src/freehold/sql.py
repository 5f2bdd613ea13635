"""The port of engines that speak SQL: statements of a user's own, in a transaction or each by itself. Port: imports the
foundation and the database port.

Patterns work through the ports of their own; what needs SQL here is the user's code: `tx.sql`, the handlers of
projections, whatever reads a service's tables.
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
    """A connection of an SQL database in a transaction, whichever driver it belongs to; begins and ends nothing.

    Runs statements in the order of the calls, each one round trip. Placeholders are numbered (`$1`) on every engine.
    """

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched."""

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement (also DML with RETURNING); returns its rows."""

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, in order, pipelined where the driver can."""


class SqlTransaction(DatabaseTransaction, Protocol):
    """A database transaction on an SQL database."""

    @property
    def sql(self) -> SqlConnection:
        """The same transaction as `native`, without its layers."""


class SqlAccess(Protocol):
    """Statements on a service's own database."""

    def direct(self) -> AbstractAsyncContextManager[SqlConnection]:
        """A connection on which each statement commits by itself: for reads, and for writes that are one statement.

        Entering raises `Unavailable` when no connection is to be had in time. An error of the engine is raised as what
        `Database.translate_error` makes of it. It is refused once the block has ended.
        """


SQL: Final[Port[SqlAccess]] = Port("sql", "statements in SQL", SqlAccess, "freehold.conformance.sql:SqlConformance")


def sql_of(db_tx: DatabaseTransaction) -> SqlConnection:
    """The SQL side of a database transaction. Raises `DeclarationError` on a database that does not speak SQL."""
    if not hasattr(db_tx, "sql"):
        raise DeclarationError("this database does not speak SQL", hint="use tx.connection")
    return cast("SqlTransaction", db_tx).sql
