"""Checkpoints on an SQL database. Base of the SQL engines: imports its siblings and the ports."""

from __future__ import annotations

from freehold.adapters.sql.store import SqlStore
from freehold.projection.store import CheckpointStore

__all__ = ["SqlCheckpointStore"]


class SqlCheckpointStore(SqlStore, CheckpointStore):
    """Checkpoints in tables."""
