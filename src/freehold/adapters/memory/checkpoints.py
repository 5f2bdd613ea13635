"""Checkpoints in memory. Adapter: imports the port and the memory database."""

from __future__ import annotations

from freehold.adapters.memory.database import MemoryDatabase
from freehold.projection.store import CheckpointStore

__all__ = ["MemoryCheckpointStore"]


class MemoryCheckpointStore(CheckpointStore):
    """Checkpoints in dictionaries."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
