"""What the SQL stores write through: a connection in a transaction, whichever driver it belongs to.

Imports the database port and the errors. Statements use numbered placeholders (`$1`); every implementation takes them
as they are or rewrites them once (SQLite's `?1`). Implementations: SQLAlchemy's and aiosqlite's, asyncpg's, psycopg's.
They begin and end nothing, and raise what the database's `translate_error` makes of an error. A store is made as
`SqlXStore(database, dialect)`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, cast

from freehold.database import Database, DatabaseTransaction
from freehold.errors import ConfigurationError
from freehold.sql import Row, SqlConnection, SqlTransaction

__all__ = ["Row", "SqlConnection", "SqlDatabase", "SqlTransaction", "sql_of"]


class SqlDatabase(Database, Protocol):
    """An SQL database. Stores get one at construction."""

    @property
    def partitions(self) -> int:
        """How many partitions the outbox has: what the database says once it is open, the options before."""

    def begin(self) -> AbstractAsyncContextManager[SqlTransaction]:
        """As `Database.begin`, with the SQL side of it."""

    def direct(self) -> AbstractAsyncContextManager[SqlConnection]:
        """A connection on which each statement commits by itself: relays, claims, statistics. Errors are diagnosed.

        A claim that must outlive what comes after it is a single statement here, or a `begin` of its own.
        """


def sql_of(db_tx: DatabaseTransaction) -> SqlConnection:
    """The SQL side of a database transaction. Raises `ConfigurationError` for one of another kind of database."""
    if not hasattr(db_tx, "sql"):
        raise ConfigurationError(
            f"a {type(db_tx).__name__} was given to an SQL store", hint="use the stores of the same database"
        )
    return cast("SqlTransaction", db_tx).sql
