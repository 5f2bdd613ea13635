"""The snapshot port. Pattern: imports the foundation and the database port.

A snapshot is a cache of a stream's fold, kept apart from the events: losing it costs time, never data. It says which
state it holds (`kind`, the state's own `schema_version`, and a fingerprint of its shape), so that a reader whose state
has changed recognises that it no longer fits, and throws it away.
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
    """How many snapshots of a kind there are, how large their data is in all, and when one was saved last: long ago for
    a kind that no code declares any more.
    """

    kind: str
    count: int
    size_bytes: int
    saved_at: datetime


class SnapshotStore(Protocol):
    """The store of a service's snapshots, in its own database: the newest of each stream and kind.

    An implementation keeps:

    1. There is one snapshot for each stream and kind, in one row, however often it is saved. Its data comes back byte
       for byte; the store sets no limit to its size.
    2. An older snapshot never replaces a newer one, so a slow writer does not set the readers of a stream back. The
       exception is a snapshot of another shape (`schema_version`, fingerprint): it is of no use and is replaced.
    3. Of two transactions that save one snapshot the second waits for the first and does not fail; the newer snapshot
       remains.
    4. What is saved or discarded with a `db_tx` is part of that transaction: seen in it at once, by others after the
       commit, and by nobody after a rollback. Without one it is a transaction of its own.
    5. Discarding a kind is bounded by `limit`, passes over a snapshot that is being saved, and leaves the other kinds
       alone.
    """

    async def save(self, db_tx: DatabaseTransaction, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of an older one of the same stream and kind; an older one changes nothing, unless
        the one that is there has another `schema_version` or fingerprint.
        """

    async def load(self, stream: str, kind: str, *, db_tx: DatabaseTransaction | None = None) -> Snapshot | None:
        """The snapshot of a stream, None where there is none."""

    async def discard(self, stream: str, kind: str, *, db_tx: DatabaseTransaction | None = None) -> bool:
        """Throw a snapshot away, in a transaction of its own where no `db_tx` is given; False where there was none."""

    async def discard_all(self, kind: str, limit: int, *, db_tx: DatabaseTransaction | None = None) -> int:
        """Throw snapshots of a kind away, `limit` at most; returns how many. One that is being saved is passed over."""

    async def kinds(self) -> Sequence[SnapshotKind]:
        """What there is, by kind. Looks at every snapshot: for people."""


SNAPSHOTS: Final[Port[SnapshotStore]] = Port(
    "snapshots", "snapshots of aggregates", SnapshotStore, "freehold.conformance.snapshots:SnapshotStoreConformance"
)
