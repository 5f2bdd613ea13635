"""The repair of a replica: writes the rows of the source over drifted rows, and records it. Pattern: imports the
database port and its own package.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from freehold.crash_points import crash_point
from freehold.database import Database, DatabaseTransaction
from freehold.reconcile.dataset import FullRow, Replica
from freehold.reconcile.dataset_store import DatasetStore

__all__ = ["RecordRepair", "ReplicaRepair"]

RecordRepair = Callable[[DatabaseTransaction, Sequence[str]], Awaitable[None]]
"""Records the keys that were written, in the transaction of the repair."""


class ReplicaRepair:
    """Repairs the rows of a replica; calls `record` in the transaction of each repair that has written some."""

    def __init__(self, database: Database, store: DatasetStore, replica: Replica, record: RecordRepair) -> None:
        self._database = database
        self._store = store
        self._replica = replica
        self._record = record

    async def repair(self, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]) -> Sequence[str]:
        """Repair rows in one transaction, as `DatasetStore.repair`; returns the keys that were written."""
        async with self._database.begin() as db_tx:
            written = await self._store.repair(db_tx, self._replica, wrong)
            crash_point("reconcile.rows-repaired")
            if written:
                await self._record(db_tx, written)
                crash_point("reconcile.before-repair-commit")
        crash_point("reconcile.repaired")
        return written
