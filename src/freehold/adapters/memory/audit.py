"""The audit trail in memory. Adapter: imports the audit port and the memory database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table, memory_transaction
from freehold.audit.store import AuditEntry, AuditStore
from freehold.database import DatabaseTransaction

__all__ = ["MemoryAuditStore"]

_AUDIT: Final[Table[int, AuditEntry]] = Table("audit")


class MemoryAuditStore(AuditStore):
    """Keeps audit entries in the order of writing."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def add(self, db_tx: DatabaseTransaction, entry: AuditEntry) -> None:
        """Record an action."""
        memory_transaction(db_tx).rows(_AUDIT).put(memory_transaction(db_tx).draw(), entry)

    async def find(self, subject: str | None, limit: int) -> Sequence[AuditEntry]:
        """Actions, newest first."""
        rows = await self._database.read(_AUDIT)
        entries = sorted(rows.items(), key=lambda item: (item[1].at, item[0]), reverse=True)
        return [entry for _, entry in entries if subject is None or entry.subject == subject][:limit]
