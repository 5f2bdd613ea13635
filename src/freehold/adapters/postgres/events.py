"""The event store on PostgreSQL. Imports the SQL base."""

from __future__ import annotations

from freehold.adapters.sql.events import SqlEventStore

__all__ = ["PostgresEventStore"]


class PostgresEventStore(SqlEventStore):
    """Events by position."""
