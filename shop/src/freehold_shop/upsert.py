"""`INSERT … ON CONFLICT` on both engines: SQLAlchemy has one construct for each dialect, with the same methods.

Imports SQLAlchemy only.
"""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["Insert", "insert_for", "insert_into"]

Insert = sqlite.Insert | postgresql.Insert


def insert_into(table: Table, connection: AsyncConnection) -> Insert:
    """An insert that knows `on_conflict_do_nothing` and `on_conflict_do_update` on this connection's engine."""
    return insert_for(table, connection.dialect.name)


def insert_for(table: Table, dialect: str) -> Insert:
    """As `insert_into`, for a dialect by name."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
