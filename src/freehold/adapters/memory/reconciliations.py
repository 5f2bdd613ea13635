"""Results of reconciliations in memory. Adapter: imports the port and the memory database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table
from freehold.reconcile.store import ReconciliationRecord, ReconciliationStore

__all__ = ["MemoryReconciliationStore"]

_RESULTS: Final[Table[int, ReconciliationRecord]] = Table("reconciliation")


class MemoryReconciliationStore(ReconciliationStore):
    """Keeps results in the order of writing."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def add(self, record: ReconciliationRecord) -> None:
        """Add a result."""
        async with self._database.begin() as db_tx:
            db_tx.rows(_RESULTS).put(db_tx.draw(), record)

    async def last(self, dataset: str) -> ReconciliationRecord | None:
        """The newest result of a dataset."""
        return next((each for each in await self._newest_first() if each.dataset == dataset), None)

    async def recent(self, limit: int) -> Sequence[ReconciliationRecord]:
        """The newest results of all datasets."""
        return (await self._newest_first())[:limit]

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old results; the newest of each dataset stays."""
        before = self._database.later(-older_than_seconds)
        async with self._database.begin() as db_tx:
            rows = sorted(db_tx.rows(_RESULTS).items())
            newest = {record.dataset: number for number, record in rows}
            old = [n for n, record in rows if record.finished_at < before and n != newest[record.dataset]]
            return sum(db_tx.rows(_RESULTS).remove(number) for number in old[:limit])

    async def _newest_first(self) -> list[ReconciliationRecord]:
        rows = await self._database.read(_RESULTS)
        return [record for _, record in sorted(rows.items(), reverse=True)]
