"""Events on an SQL database. Base of the SQL engines: imports its siblings and the ports."""

from __future__ import annotations

from freehold.adapters.sql.store import SqlStore
from freehold.eventstore.store import EventStore

__all__ = ["SqlEventStore"]


class SqlEventStore(SqlStore, EventStore):
    """Events in tables."""
