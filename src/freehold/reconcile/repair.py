"""Writes what the source says over drifted rows of a replica, and has it recorded. Pattern: imports the database port
and its own package.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from freehold.database import Database, DatabaseTransaction
from freehold.reconcile.dataset import FullRow, Replica
from freehold.reconcile.dataset_store import DatasetStore

__all__ = ["Recorded", "ReplicaRepair"]

Recorded = Callable[[DatabaseTransaction, Sequence[str]], Awaitable[None]]
"""Records, in the repair's own transaction, which keys were written."""


class ReplicaRepair:
    """Repairs a replica; `recorded` is called in the transaction of each repair that has written something."""

    def __init__(self, database: Database, store: DatasetStore, replica: Replica, recorded: Recorded) -> None:
        self._database = database
        self._store = store
        self._replica = replica
        self._recorded = recorded

    async def repair(self, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]) -> Sequence[str]:
        """Repair rows, in one transaction; returns the keys that were written. See `DatasetStore.repair`."""
        async with self._database.begin() as db_tx:
            written = await self._store.repair(db_tx, self._replica, wrong)
            if written:
                await self._recorded(db_tx, written)
        return written
