"""`INSERT … ON CONFLICT` on both engines: SQLAlchemy has one construct for each dialect, with the same methods.

A claim is built once for each table and dialect, since it runs for every message. Imports SQLAlchemy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from sqlalchemy import Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["Insert", "claim_row", "insert_for", "insert_into"]

Insert = sqlite.Insert | postgresql.Insert


def insert_into(table: Table, connection: AsyncConnection) -> Insert:
    """An insert with `on_conflict_do_nothing` and `on_conflict_do_update` for this connection's engine."""
    return insert_for(table, connection.dialect.name)


def insert_for(table: Table, dialect: str) -> Insert:
    """Like `insert_into`, for a dialect by name."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


async def claim_row(connection: AsyncConnection, table: Table, row: Mapping[str, object]) -> bool:
    """Insert a row unless its primary key exists; false: it does. Waits for a concurrent insert of the key."""
    claimed = await connection.execute(_claim(table, connection.dialect.name), dict(row))
    return claimed.first() is not None


@cache
def _claim(table: Table, dialect: str) -> Executable:
    return insert_for(table, dialect).on_conflict_do_nothing().returning(*table.primary_key)
