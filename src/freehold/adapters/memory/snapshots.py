"""Snapshots in memory. Adapter: imports the port and the memory database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table, memory_transaction
from freehold.aggregate.store import Snapshot, SnapshotKind, SnapshotStore
from freehold.database import DatabaseTransaction

__all__ = ["MemorySnapshotStore"]


@dataclass(frozen=True, slots=True)
class _Row:
    snapshot: Snapshot
    saved_at: datetime


_SNAPSHOTS: Final[Table[tuple[str, str], _Row]] = Table("snapshots")


class MemorySnapshotStore(SnapshotStore):
    """Keeps the newest snapshot of each stream and kind."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def save(self, db_tx: DatabaseTransaction, snapshot: Snapshot) -> None:
        """Add a snapshot, or replace an older one."""
        rows = memory_transaction(db_tx).rows(_SNAPSHOTS)
        key = (snapshot.stream, snapshot.kind)
        row = rows.get(key)
        found = row.snapshot if row is not None else None
        if found is None or found.version <= snapshot.version or _shape(found) != _shape(snapshot):
            rows.put(key, _Row(snapshot, self._database.now()))

    async def load(self, stream: str, kind: str, *, db_tx: DatabaseTransaction | None = None) -> Snapshot | None:
        """The snapshot of a stream; None where there is none."""
        if db_tx is not None:
            row = memory_transaction(db_tx).rows(_SNAPSHOTS).get((stream, kind))
        else:
            row = (await self._database.read(_SNAPSHOTS)).get((stream, kind))
        return row.snapshot if row is not None else None

    async def discard(self, stream: str, kind: str, *, db_tx: DatabaseTransaction | None = None) -> bool:
        """Delete the snapshot of a stream; returns whether there was one."""
        if db_tx is not None:
            return memory_transaction(db_tx).rows(_SNAPSHOTS).remove((stream, kind))
        async with self._database.begin() as own:
            return own.rows(_SNAPSHOTS).remove((stream, kind))

    async def discard_all(self, kind: str, limit: int, *, db_tx: DatabaseTransaction | None = None) -> int:
        """Delete snapshots of a kind, up to the limit; returns their number."""
        if db_tx is None:
            async with self._database.begin() as own:
                return await self.discard_all(kind, limit, db_tx=own)
        rows = memory_transaction(db_tx).rows(_SNAPSHOTS)
        keys = sorted(key for key, _ in rows.items() if key[1] == kind)
        return sum(rows.remove(key) for key in keys[:limit])

    async def kinds(self) -> Sequence[SnapshotKind]:
        """The number, size and newest time of the snapshots, by kind."""
        found: dict[str, list[_Row]] = {}
        for row in (await self._database.read(_SNAPSHOTS)).values():
            found.setdefault(row.snapshot.kind, []).append(row)
        return [
            SnapshotKind(
                kind, len(rows), sum(len(row.snapshot.data) for row in rows), max(row.saved_at for row in rows)
            )
            for kind, rows in sorted(found.items())
        ]


def _shape(snapshot: Snapshot) -> tuple[int, str]:
    return snapshot.schema_version, snapshot.fingerprint
