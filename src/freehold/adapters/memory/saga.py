"""Sagas and their journal in memory. Adapter: imports the saga port and the memory database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import MemoryTransaction, Table, memory_transaction
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.saga.store import (
    JOURNAL_DETAIL_CHARACTERS_MAX,
    TERMINAL_STATUSES,
    JournalEntry,
    SagaBacklog,
    SagaFilter,
    SagaRecord,
    SagaStatus,
    SagaStore,
)

__all__ = ["MemorySagaStore"]


@dataclass(frozen=True, slots=True)
class _SagaRow:
    record: SagaRecord
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None


_SAGAS: Final[Table[UUID, _SagaRow]] = Table("saga")
_JOURNAL: Final[Table[UUID, tuple[JournalEntry, ...]]] = Table("saga_journal")


class MemorySagaStore(SagaStore):
    """Keeps instances and journals by id."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def create(self, db_tx: DatabaseTransaction, record: SagaRecord, entries: Sequence[JournalEntry]) -> bool:
        """Add a new instance; False where it exists."""
        rows = memory_transaction(db_tx).rows(_SAGAS)
        if rows.get(record.id) is not None:
            return False
        now = self._database.now()
        rows.put(record.id, self._row(replace(record, version=1), now))
        _append(memory_transaction(db_tx), record.id, entries)
        return True

    async def load(self, db_tx: DatabaseTransaction, saga_id: UUID) -> SagaRecord:
        """An instance; no other transaction can write it meanwhile. Raises `NotFound`."""
        row = memory_transaction(db_tx).rows(_SAGAS).get(saga_id)
        if row is None:
            raise NotFound(f"there is no saga {saga_id}", hint="it may have been pruned after its end")
        return self._record(row)

    async def save(self, db_tx: DatabaseTransaction, record: SagaRecord, entries: Sequence[JournalEntry]) -> None:
        """Store the next state. Raises `ConcurrencyConflict` where the version differs."""
        rows = memory_transaction(db_tx).rows(_SAGAS)
        row = rows.get(record.id)
        if row is None or row.record.version != record.version:
            raise ConcurrencyConflict(
                f"saga {record.id} is no longer at version {record.version}", hint="load it again and decide again"
            )
        kept = replace(
            row.record,
            status=record.status,
            version=record.version + 1,
            document=record.document,
            failure=record.failure,
            due_seconds=record.due_seconds,
        )
        rows.put(record.id, self._row(kept, row.created_at))
        _append(memory_transaction(db_tx), record.id, entries)

    async def load_many(self, db_tx: DatabaseTransaction, saga_ids: Collection[UUID]) -> Mapping[UUID, SagaRecord]:
        """The existing instances."""
        rows = memory_transaction(db_tx).rows(_SAGAS)
        found = {saga_id: rows.get(saga_id) for saga_id in saga_ids}
        return {saga_id: self._record(row) for saga_id, row in found.items() if row is not None}

    async def save_many(
        self, db_tx: DatabaseTransaction, changes: Sequence[tuple[SagaRecord, Sequence[JournalEntry]]]
    ) -> None:
        """Save one after the other."""
        for record, entries in changes:
            await self.save(db_tx, record, entries)

    async def claim_due(self, db_tx: DatabaseTransaction, limit: int) -> Sequence[SagaRecord]:
        """Due instances, in order."""
        now = self._database.now()
        due = [(row.due_at, row) for row in memory_transaction(db_tx).rows(_SAGAS).values() if row.due_at is not None]
        due.sort(key=lambda pair: (pair[0], pair[1].record.id))
        return [self._record(row) for at, row in due if at <= now][:limit]

    async def next_due_seconds(self) -> float | None:
        """Seconds until the first instance is due; None where none waits."""
        rows = (await self._database.read(_SAGAS)).values()
        soonest = min((row.due_at for row in rows if row.due_at is not None), default=None)
        return None if soonest is None else (soonest - self._database.now()).total_seconds()

    async def find(self, wanted: SagaFilter) -> Sequence[SagaRecord]:
        """Instances, newest first."""
        rows = [row for row in (await self._database.read(_SAGAS)).values() if _fits(row.record, wanted)]
        rows.sort(key=lambda row: (row.created_at, row.record.id), reverse=True)
        return [self._record(row) for row in rows[: wanted.limit]]

    async def journal(self, saga_id: UUID) -> Sequence[JournalEntry]:
        """The journal of an instance, in order."""
        return (await self._database.read(_JOURNAL)).get(saga_id, ())

    async def count(self) -> dict[tuple[str, SagaStatus], int]:
        """The number of instances by definition and status."""
        rows = (await self._database.read(_SAGAS)).values()
        return dict(Counter((row.record.definition, row.record.status) for row in rows))

    async def backlog(self) -> Mapping[tuple[str, SagaStatus], SagaBacklog]:
        """The instances that have not ended, by definition and status."""
        started: dict[tuple[str, SagaStatus], list[datetime]] = {}
        for row in (await self._database.read(_SAGAS)).values():
            if row.record.status not in TERMINAL_STATUSES:
                started.setdefault((row.record.definition, row.record.status), []).append(row.created_at)
        return {key: SagaBacklog(len(times), min(times)) for key, times in started.items()}

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete instances that ended so many seconds ago, with their journals."""
        before = self._database.later(-older_than_seconds)
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(_SAGAS)
            old = [
                saga_id
                for saga_id, row in rows.items()
                if row.record.status in TERMINAL_STATUSES and row.updated_at < before
            ]
            for saga_id in old[:limit]:
                rows.remove(saga_id)
                db_tx.rows(_JOURNAL).remove(saga_id)
            return len(old[:limit])

    def _row(self, record: SagaRecord, created_at: datetime) -> _SagaRow:
        due_at = None if record.due_seconds is None else self._database.later(record.due_seconds)
        return _SagaRow(record=record, created_at=created_at, updated_at=self._database.now(), due_at=due_at)

    def _record(self, row: _SagaRow) -> SagaRecord:
        due_seconds = None if row.due_at is None else self._seconds_until(row.due_at)
        return replace(row.record, due_seconds=due_seconds, created_at=row.created_at, updated_at=row.updated_at)

    def _seconds_until(self, at: datetime) -> float:
        return max(0.0, (at - self._database.now()).total_seconds())


def _append(db_tx: MemoryTransaction, saga_id: UUID, entries: Sequence[JournalEntry]) -> None:
    bounded = tuple(replace(entry, detail=entry.detail[:JOURNAL_DETAIL_CHARACTERS_MAX]) for entry in entries)
    journal = db_tx.rows(_JOURNAL)
    journal.put(saga_id, (journal.get(saga_id) or ()) + bounded)


def _fits(record: SagaRecord, wanted: SagaFilter) -> bool:
    pairs: tuple[tuple[object, object], ...] = (
        (wanted.definition, record.definition),
        (wanted.status, record.status),
        (wanted.key, record.key),
        (wanted.id, record.id),
        (wanted.correlation_id, record.correlation_id),
    )
    return all(want is None or want == has for want, has in pairs)
