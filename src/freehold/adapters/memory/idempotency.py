"""Answers by Idempotency-Key in memory. Adapter: imports the idempotency port and the memory database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table, memory_transaction
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.idempotency.store import IdempotencyStore, StoredResponse

__all__ = ["MemoryIdempotencyStore"]


@dataclass(frozen=True, slots=True)
class _Claim:
    claimed_at: datetime
    answer: StoredResponse | None = None


_CLAIMS: Final[Table[tuple[str, str], _Claim]] = Table("idempotency")


class MemoryIdempotencyStore(IdempotencyStore):
    """Claims and answers by scope and key."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def claim(self, db_tx: DatabaseTransaction, scope: str, key: str, fingerprint: str) -> StoredResponse | None:
        """Reserve the key; a concurrent holder was waited for when the transaction began."""
        rows = memory_transaction(db_tx).rows(_CLAIMS)
        claimed = rows.get((scope, key))
        if claimed is None:
            rows.put((scope, key), _Claim(self._database.now()))
            return None
        if claimed.answer is None:
            raise ConcurrencyConflict(
                "this idempotency key was claimed and never answered",
                hint="complete a claim in the transaction that made it",
            )
        return claimed.answer

    async def complete(self, db_tx: DatabaseTransaction, scope: str, key: str, answer: StoredResponse) -> None:
        """Keep the answer."""
        rows = memory_transaction(db_tx).rows(_CLAIMS)
        claimed = rows.get((scope, key))
        if claimed is None:
            raise NotFound("this idempotency key was not claimed", hint="claim it first, in the same transaction")
        rows.put((scope, key), _Claim(claimed.claimed_at, answer))

    async def used(self, db_tx: DatabaseTransaction, scope: str, key: str | None = None) -> bool:
        """Look among the rows."""
        rows = memory_transaction(db_tx).rows(_CLAIMS)
        return any(found == scope and key in {None, name} for (found, name), _ in rows.items())

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old answers."""
        before = self._database.later(-older_than_seconds)
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(_CLAIMS)
            old = [key for key, claimed in rows.items() if claimed.claimed_at < before]
            return sum(rows.remove(key) for key in old[:limit])
