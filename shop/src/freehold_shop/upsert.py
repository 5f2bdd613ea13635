"""Inserts that meet an existing row, on each engine: SQLAlchemy has a construct of its own for each dialect.

`ON CONFLICT` is of PostgreSQL and SQLite; MariaDB has `ON DUPLICATE KEY UPDATE` and `INSERT IGNORE`.

A claim is built once for each table and dialect, since it runs for every message. Imports SQLAlchemy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from sqlalchemy import Executable, Table
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["Insert", "claim_row", "insert_for", "insert_into", "is_mariadb", "upsert_into"]

Insert = sqlite.Insert | postgresql.Insert


def insert_into(table: Table, connection: AsyncConnection) -> Insert:
    """An insert with `on_conflict_do_nothing` and `on_conflict_do_update` for this connection's engine."""
    return insert_for(table, connection.dialect.name)


def insert_for(table: Table, dialect: str) -> Insert:
    """Like `insert_into`, for a dialect by name."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def is_mariadb(connection: AsyncConnection) -> bool:
    """Whether the connection is to MariaDB."""
    return connection.dialect.name == "mariadb"


def upsert_into(table: Table, connection: AsyncConnection, columns: Sequence[str]) -> Executable:
    """An insert that sets these columns of a row whose primary key exists."""
    if is_mariadb(connection):
        added = mysql.insert(table)
        return added.on_duplicate_key_update({name: added.inserted[name] for name in columns})
    statement = insert_into(table, connection)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: statement.excluded[name] for name in columns}
    )


async def claim_row(connection: AsyncConnection, table: Table, row: Mapping[str, object]) -> bool:
    """Insert a row unless its primary key exists; false: it does. Waits for a concurrent insert of the key."""
    claimed = await connection.execute(_claim(table, connection.dialect.name), dict(row))
    return claimed.first() is not None


@cache
def _claim(table: Table, dialect: str) -> Executable:
    if dialect == "mariadb":
        # IGNORE also makes a warning of a value that does not fit, which the API's limits on texts prevent.
        return mysql.insert(table).prefix_with("IGNORE").returning(*table.primary_key)
    return insert_for(table, dialect).on_conflict_do_nothing().returning(*table.primary_key)
