"""Dead letters in memory. Adapter: imports the dead-letter port and the memory database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import MemoryTransaction, Table, memory_transaction
from freehold.database import DatabaseTransaction
from freehold.deadletters.store import (
    DeadLetter,
    DeadLetterBacklog,
    DeadLetterFilter,
    DeadLetterStatus,
    DeadLetterStore,
)
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.failures import plain_text

__all__ = ["MemoryDeadLetterStore"]


@dataclass(frozen=True, slots=True)
class _Kept:
    letter: DeadLetter
    ended_at: datetime | None = None


_LETTERS: Final[Table[UUID, _Kept]] = Table("dead_letter")


class MemoryDeadLetterStore(DeadLetterStore):
    """Keeps dead letters by id."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def add(self, db_tx: DatabaseTransaction, letter: DeadLetter) -> None:
        """Add a dead letter."""
        reason, error_type, detail = map(plain_text, (letter.reason, letter.error_type, letter.detail))
        kept = replace(letter, reason=reason, error_type=error_type, detail=detail)
        memory_transaction(db_tx).rows(_LETTERS).put(letter.id, _Kept(kept))

    async def find(self, wanted: DeadLetterFilter) -> Sequence[DeadLetter]:
        """Dead letters, newest first."""
        letters = [kept.letter for kept in (await self._database.read(_LETTERS)).values() if _fits(kept.letter, wanted)]
        letters.sort(key=lambda letter: (letter.failed_at, letter.id), reverse=True)
        return letters[: wanted.limit]

    async def get(self, db_tx: DatabaseTransaction, letter_id: UUID) -> DeadLetter:
        """One dead letter; no other transaction can write it meanwhile. Raises `NotFound`."""
        return _kept(memory_transaction(db_tx), letter_id).letter

    async def edit(self, db_tx: DatabaseTransaction, letter_id: UUID, document: bytes) -> None:
        """Store an edited document. Raises `NotFound`, or `ConcurrencyConflict` after a replay or discard."""
        kept = _dead(memory_transaction(db_tx), letter_id)
        memory_transaction(db_tx).rows(_LETTERS).put(
            letter_id, replace(kept, letter=replace(kept.letter, edited=document))
        )

    async def mark(
        self, db_tx: DatabaseTransaction, letter_id: UUID, status: DeadLetterStatus, replayed_as: UUID | None
    ) -> None:
        """Set the final status of a dead letter. Raises `NotFound`, or `ConcurrencyConflict` where it has one."""
        kept = _dead(memory_transaction(db_tx), letter_id)
        ended = replace(kept.letter, status=status, replayed_as=replayed_as)
        memory_transaction(db_tx).rows(_LETTERS).put(letter_id, _Kept(letter=ended, ended_at=self._database.now()))

    async def count(self) -> dict[str, int]:
        """The number of dead letters by reason."""
        letters = (kept.letter for kept in (await self._database.read(_LETTERS)).values())
        return dict(Counter(letter.reason for letter in letters if letter.status is DeadLetterStatus.DEAD))

    async def backlog(self) -> Mapping[str, DeadLetterBacklog]:
        """The dead letters that have not ended, by reason."""
        found: dict[str, DeadLetterBacklog] = {}
        for kept in (await self._database.read(_LETTERS)).values():
            letter, known = kept.letter, found.get(kept.letter.reason)
            if letter.status is DeadLetterStatus.DEAD:
                oldest_at = letter.failed_at if known is None else min(known.oldest_at, letter.failed_at)
                found[letter.reason] = DeadLetterBacklog(1 if known is None else known.number + 1, oldest_at)
        return found

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete dead letters that were replayed or discarded so many seconds ago; returns their number."""
        before = self._database.later(-older_than_seconds)
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(_LETTERS)
            old = [key for key, kept in rows.items() if kept.ended_at is not None and kept.ended_at < before]
            return sum(rows.remove(key) for key in old[:limit])


def _fits(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    pairs = (
        (wanted.id, letter.id),
        (wanted.status, letter.status),
        (wanted.consumer, letter.consumer),
        (wanted.type, letter.type),
        (wanted.reason, letter.reason),
    )
    follows = wanted.after is None or (letter.failed_at, letter.id) < wanted.after
    return follows and all(want is None or want == has for want, has in pairs)


def _kept(db_tx: MemoryTransaction, letter_id: UUID) -> _Kept:
    kept = db_tx.rows(_LETTERS).get(letter_id)
    if kept is None:
        raise NotFound(f"there is no dead letter {letter_id}", hint="freehold dlq list shows the existing ones")
    return kept


def _dead(db_tx: MemoryTransaction, letter_id: UUID) -> _Kept:
    kept = _kept(db_tx, letter_id)
    if kept.letter.status is not DeadLetterStatus.DEAD:
        raise ConcurrencyConflict(
            f"dead letter {letter_id} was already {kept.letter.status.value}",
            hint="a dead letter can be replayed or discarded only once",
        )
    return kept
