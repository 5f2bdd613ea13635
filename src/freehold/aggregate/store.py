"""The snapshot port. Pattern: imports the foundation and the database port.

A snapshot is a cache of a stream's fold, stored apart from the events: its loss costs time, never data. It names the
state that it has (`kind`, the state's own `schema_version`, and a fingerprint of its shape), so that a reader whose
state has changed detects that it no longer fits, and discards it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = ["SNAPSHOTS", "Snapshot", "SnapshotKind", "SnapshotStore"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state as of a stream's version. `data` is the encoded state."""

    stream: str
    kind: str
    version: int
    schema_version: int
    fingerprint: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SnapshotKind:
    """The snapshots of one kind: their number, the total size of their data, and when one was saved last, which is long
    ago for a kind that no code declares any more.
    """

    kind: str
    count: int
    size_bytes: int
    saved_at: datetime


class SnapshotStore(Protocol):
    """The store of a service's snapshots, in its own database: the newest of each stream and kind.

    An implementation keeps:

    1. There is one snapshot for each stream and kind, in one row, however often it is saved. Its data comes back byte
       for byte; the store has no limit for its size.
    2. An older snapshot never replaces a newer one, so a slow writer does not harm the readers of a stream. The
       exception is a snapshot of another shape (`schema_version`, fingerprint): it is of no use and is replaced.
    3. Of two transactions that save one snapshot the second waits for the first and does not fail; the newer snapshot
       remains.
    4. A save or discard with a `db_tx` is part of that transaction: it is seen in it at once, and by others after the
       commit; a rollback undoes it. Without a `db_tx` it is a transaction of its own.
    5. Discarding a kind is bounded by `limit`, skips a snapshot that is being saved, and does not touch other kinds.
    """

    async def save(self, db_tx: DatabaseTransaction, snapshot: Snapshot) -> None:
        """Save a snapshot in place of the one of the same stream and kind, if it is newer or the stored one has another
        `schema_version` or fingerprint.
        """

    async def load(self, stream: str, kind: str, *, db_tx: DatabaseTransaction | None = None) -> Snapshot | None:
        """The snapshot of a stream; None if there is none."""

    async def discard(self, stream: str, kind: str, *, db_tx: DatabaseTransaction | None = None) -> bool:
        """Delete a snapshot, in a transaction of its own if no `db_tx` is given; False if there was none."""

    async def discard_all(self, kind: str, limit: int, *, db_tx: DatabaseTransaction | None = None) -> int:
        """Delete at most `limit` snapshots of a kind, but none that is being saved; returns how many."""

    async def kinds(self) -> Sequence[SnapshotKind]:
        """All snapshots, summed up by kind. Reads every row: for operators."""


SNAPSHOTS: Final[Port[SnapshotStore]] = Port(
    "snapshots", "snapshots of aggregates", SnapshotStore, "freehold.conformance.snapshots:SnapshotStoreConformance"
)
