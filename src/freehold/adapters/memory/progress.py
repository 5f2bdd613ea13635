"""Progress in memory. Adapter: imports the port and the memory database."""

from __future__ import annotations

from freehold.adapters.memory.database import MemoryDatabase
from freehold.consistency.store import ProgressStore

__all__ = ["MemoryProgressStore"]


class MemoryProgressStore(ProgressStore):
    """Progress in dictionaries."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
