"""Progress on an SQL database. Base of the SQL engines: imports its siblings and the ports."""

from __future__ import annotations

from freehold.adapters.sql.store import SqlStore
from freehold.consistency.store import ProgressStore

__all__ = ["SqlProgressStore"]


class SqlProgressStore(SqlStore, ProgressStore):
    """Progress in tables."""
