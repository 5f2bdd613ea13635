"""The instances that one transaction has loaded and changed. Pattern: imports its own port and
`handover`.

A batch of replies is handled in one transaction. Each instance is read once and written once, whatever its number of
replies. One statement reads all instances of the batch, and one writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from uuid import UUID

from freehold.crash_points import crash_point
from freehold.database import DatabaseTransaction
from freehold.saga.handover import NOBODY, Caller, Handover
from freehold.saga.store import JournalEntry, SagaRecord, SagaStore

__all__ = ["Session"]


class Session:
    """The records of one transaction, and the calls that it hands over. A rollback discards them.

    Calls are handed over to `caller`, but not in a transaction that its owner commits: the owner may not say so, and
    the calls would wait for their time limit. There they are left due.
    """

    def __init__(self, store: SagaStore, db_tx: DatabaseTransaction, caller: Caller) -> None:
        self.handover = Handover(caller if db_tx.owned else NOBODY, db_tx.life)
        self._store = store
        self._db_tx = db_tx
        self._records: dict[UUID, SagaRecord] = {}
        self._journal: dict[UUID, list[JournalEntry]] = {}

    def assume(self, records: Sequence[SagaRecord]) -> None:
        """Take records for what a load would return. They are not locked: only the save finds out."""
        self._records.update((record.id, record) for record in records)

    async def prefetch(self, saga_ids: Collection[UUID]) -> None:
        """Load and lock the instances that are not loaded yet; ids that do not exist are ignored."""
        missing = set(saga_ids) - set(self._records)
        if missing:
            self._records.update(await self._store.load_many(self._db_tx, missing))

    async def load(self, saga_id: UUID) -> SagaRecord:
        """Return an instance, locked. Raises `NotFound`."""
        if saga_id not in self._records:
            self._records[saga_id] = await self._store.load(self._db_tx, saga_id)
        return self._records[saga_id]

    def put(self, record: SagaRecord, entries: Sequence[JournalEntry]) -> None:
        """Set the state and the journal entries that the next `save` writes. `record.version` is the loaded version."""
        self._records[record.id] = record
        self._journal.setdefault(record.id, []).extend(entries)

    def has_changes(self) -> bool:
        """Whether there is something to write."""
        return bool(self._journal)

    def remember(self) -> Callable[[], None]:
        """Return a function that restores the present state, for a savepoint."""
        records, journal = dict(self._records), {key: list(entries) for key, entries in self._journal.items()}

        def restore() -> None:
            self._records = dict(records)
            self._journal = {key: list(entries) for key, entries in journal.items()}

        return restore

    async def save(self, *, last: bool = False) -> None:
        """Write the changed instances and their journal entries. Raises `ConcurrencyConflict`. With `last` nothing but
        the end of the transaction follows, and the end may raise it.
        """
        if not self._journal:
            return
        crash_point("saga.before-save")
        changes = [(self._records[saga_id], entries) for saga_id, entries in sorted(self._journal.items())]
        self._journal = {}
        if last:
            await self._store.save_last(self._db_tx, changes)
        elif len(changes) == 1:
            await self._store.save(self._db_tx, *changes[0])
        else:
            await self._store.save_many(self._db_tx, changes)
        crash_point("saga.saved")
        for record, _ in changes:
            self.saved(replace(record, version=record.version + 1))

    def saved(self, record: SagaRecord) -> None:
        """Note an instance as it is in the database now."""
        self._records[record.id] = self.handover.records[record.id] = record
