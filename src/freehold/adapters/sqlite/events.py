"""The event store on SQLite. Imports the SQL base."""

from __future__ import annotations

from freehold.adapters.sql.events import SqlEventStore

__all__ = ["SqliteEventStore"]


class SqliteEventStore(SqlEventStore):
    """Events by position."""
