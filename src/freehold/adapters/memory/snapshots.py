"""Snapshots in memory. Adapter: imports the port and the memory database."""

from __future__ import annotations

from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table, memory_unit
from freehold.aggregate.store import Snapshot, SnapshotStore
from freehold.database import UnitOfWork

__all__ = ["MemorySnapshotStore"]

_SNAPSHOTS: Final[Table[tuple[str, str], Snapshot]] = Table("snapshots")


class MemorySnapshotStore(SnapshotStore):
    """The newest of each stream and kind."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def save(self, unit: UnitOfWork, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of an older one."""
        rows = memory_unit(unit).rows(_SNAPSHOTS)
        key = (snapshot.stream, snapshot.kind)
        found = rows.get(key)
        if found is None or found.version <= snapshot.version or _shape(found) != _shape(snapshot):
            rows.put(key, snapshot)

    async def load(self, stream: str, kind: str, *, unit: UnitOfWork | None = None) -> Snapshot | None:
        """The snapshot of a stream."""
        if unit is not None:
            return memory_unit(unit).rows(_SNAPSHOTS).get((stream, kind))
        return (await self._database.read(_SNAPSHOTS)).get((stream, kind))

    async def discard(self, stream: str, kind: str, *, unit: UnitOfWork | None = None) -> bool:
        """Throw a snapshot away."""
        if unit is not None:
            return memory_unit(unit).rows(_SNAPSHOTS).remove((stream, kind))
        async with self._database.begin() as own:
            return own.rows(_SNAPSHOTS).remove((stream, kind))

    async def discard_all(self, kind: str, limit: int) -> int:
        """Throw snapshots of a kind away."""
        async with self._database.begin() as unit:
            rows = unit.rows(_SNAPSHOTS)
            keys = sorted(key for key, snapshot in rows.items() if snapshot.kind == kind)
            return sum(rows.remove(key) for key in keys[:limit])


def _shape(snapshot: Snapshot) -> tuple[int, str]:
    return snapshot.schema_version, snapshot.fingerprint
