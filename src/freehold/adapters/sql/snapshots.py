"""Snapshots on an SQL database. Base of the SQL engines: imports its siblings and the ports."""

from __future__ import annotations

from freehold.adapters.sql.store import SqlStore
from freehold.aggregate.store import SnapshotStore

__all__ = ["SqlSnapshotStore"]


class SqlSnapshotStore(SqlStore, SnapshotStore):
    """Snapshots in tables."""
