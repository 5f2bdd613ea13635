"""Snapshots in memory. Adapter: imports the port and the memory database."""

from __future__ import annotations

from freehold.adapters.memory.database import MemoryDatabase
from freehold.aggregate.store import SnapshotStore

__all__ = ["MemorySnapshotStore"]


class MemorySnapshotStore(SnapshotStore):
    """Snapshots in dictionaries."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
