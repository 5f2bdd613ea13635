"""Events in memory. Adapter: imports the port and the memory database."""

from __future__ import annotations

from freehold.adapters.memory.database import MemoryDatabase
from freehold.eventstore.store import EventStore

__all__ = ["MemoryEventStore"]


class MemoryEventStore(EventStore):
    """Events in dictionaries."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
