"""Responses by idempotency key in memory. Adapter: imports the idempotency port and the memory database."""

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
    """Keeps claims and responses by scope and key."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def claim(self, db_tx: DatabaseTransaction, scope: str, key: str, fingerprint: str) -> StoredResponse | None:
        """Claim the key, or read the stored response. Raises `ConcurrencyConflict` for a claim without a response.

        A concurrent claim has ended: transactions wait for each other when they begin.
        """
        rows = memory_transaction(db_tx).rows(_CLAIMS)
        claimed = rows.get((scope, key))
        if claimed is None:
            rows.put((scope, key), _Claim(self._database.now()))
            return None
        if claimed.answer is None:
            raise ConcurrencyConflict(
                "this idempotency key was claimed without a response",
                hint="complete a claim in the transaction that made it",
            )
        return claimed.answer

    async def complete(self, db_tx: DatabaseTransaction, scope: str, key: str, answer: StoredResponse) -> None:
        """Store the response. Raises `NotFound` where the key was not claimed."""
        rows = memory_transaction(db_tx).rows(_CLAIMS)
        claimed = rows.get((scope, key))
        if claimed is None:
            raise NotFound("this idempotency key was not claimed", hint="claim it first, in the same transaction")
        rows.put((scope, key), _Claim(claimed.claimed_at, answer))

    async def used(self, db_tx: DatabaseTransaction, scope: str, key: str | None = None) -> bool:
        """Whether the key, or any key of the scope, was claimed."""
        rows = memory_transaction(db_tx).rows(_CLAIMS)
        return any(found == scope and key in {None, name} for (found, name), _ in rows.items())

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old claims and responses; returns their number."""
        before = self._database.later(-older_than_seconds)
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(_CLAIMS)
            old = [key for key, claimed in rows.items() if claimed.claimed_at < before]
            return sum(rows.remove(key) for key in old[:limit])
