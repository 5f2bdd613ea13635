"""The connection that the SQL stores write through, the same for every driver.

Imports the database port and the errors. Statements use numbered placeholders (`$1`). An implementation (SQLAlchemy,
aiosqlite, asyncpg, psycopg) passes them on or rewrites them (SQLite: `?1`), begins and ends no transaction, and raises
what the database's `translate_error` returns for an error. A store is made as `SqlXStore(database, dialect)`.
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
        """The number of partitions of the outbox: from the options, and from the database once it is open."""

    def begin(self) -> AbstractAsyncContextManager[SqlTransaction]:
        """Open a transaction as `Database.begin` does; it has `sql` as well."""

    def direct(self) -> AbstractAsyncContextManager[SqlConnection]:
        """A connection on which each statement commits by itself: relays, claims, statistics. Errors are translated.

        A claim that must stay when later work fails is one statement here, or a transaction of its own.
        """


def sql_of(db_tx: DatabaseTransaction) -> SqlConnection:
    """The SQL side of a database transaction. Raises `ConfigurationError` for one of another kind of database."""
    if not hasattr(db_tx, "sql"):
        raise ConfigurationError(
            f"a {type(db_tx).__name__} was given to an SQL store", hint="use the stores of the same database"
        )
    return cast("SqlTransaction", db_tx).sql
