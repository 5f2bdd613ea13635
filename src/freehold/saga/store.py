"""The saga port: instances of orchestrated sagas and their journal. Pattern: imports the foundation and the ports.

An instance is one row. The row also contains the time at which the instance is due next (`due_seconds`), so timers are
durable and need no write of their own. The journal is for operators. If a timer were a scheduled message instead, it
would race with the reply that it waits for:

    t1  a step begins: its command is sent, and a message is scheduled for t3, the step's time limit
    t2  the reply comes, and the instance moves to its next step
    t3  the scheduled message comes nevertheless, and has to be recognised as one of a step that has ended

With the timer in the row, the save at t2 replaces it by the timer of the next step, or by none; nothing comes at t3.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from freehold.context import Signal
from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = [
    "JOURNAL_DETAIL_CHARACTERS_MAX",
    "SAGAS",
    "TERMINAL_STATUSES",
    "JournalEntry",
    "SagaFilter",
    "SagaRecord",
    "SagaStatus",
    "SagaStore",
]

JOURNAL_DETAIL_CHARACTERS_MAX: Final = 500
"""A longer detail of a journal entry is cut off by the store."""


class SagaStatus(StrEnum):
    """The status of an instance. The last three are terminal; with `needs-attention` it waits for an operator."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    NEEDS_ATTENTION = "needs-attention"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    TERMINATED = "terminated"


TERMINAL_STATUSES: Final = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.TERMINATED})
"""A status that never changes; the instance is pruned after its retention."""


@dataclass(frozen=True, slots=True)
class SagaRecord:
    """An instance as it is stored.

    definition, definition_version  the definition with which it was started; unchanged until its end.
    key            partition key of its commands and replies; operators find the instance by it (an order id).
    status         see `SagaStatus`; `failure` is the reason of the compensation, if any.
    document       steps and user state, JSON as bytes; only the engine reads it.
    version        increased by one with each save.
    due_seconds    seconds from now, by the database's clock, until its timer is due; None: it waits for a message.
    """

    id: UUID
    definition: str
    definition_version: int
    key: str
    correlation_id: UUID
    status: SagaStatus
    version: int
    document: bytes = field(repr=False)
    failure: str | None = None
    due_seconds: float | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def is_stored_as(self, found: SagaRecord | None) -> bool:
        """Whether an instance that was found in the database is the one that this save wrote."""
        return found is not None and (found.version, found.document) == (self.version, self.document)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry of the journal: `what` is a fixed word, `detail` free text without personal data."""

    at: datetime
    step: str
    what: str
    attempt: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SagaFilter:
    """A filter for instances; None matches any."""

    definition: str | None = None
    status: SagaStatus | None = None
    key: str | None = None
    id: UUID | None = None
    correlation_id: UUID | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class SagaBacklog:
    """How many instances of one definition have one status, and when the oldest of them was started."""

    number: int
    oldest_at: datetime


class SagaStore(Protocol):
    """The store of sagas' instances and their journals, in the database of the service that orchestrates them.

    An implementation keeps:

    1. An instance is created once for each id. A second creation, also at the same time, changes neither the instance
       nor its journal.
    2. State, timer and journal entries are written together, in the transaction that is passed in; a save is one round
       trip. A rollback leaves none of them.
    3. A save succeeds only on the version that was loaded. Of several concurrent saves of one version one succeeds;
       each of the others gets `ConcurrencyConflict` and writes nothing, no journal entry either. If one of the versions
       in a transaction is old, nothing of the transaction may remain.
    4. What was loaded or claimed stays locked until the transaction ends: a concurrent load waits, and returns what was
       saved. `load_many` locks in the order of ids, so that two callers do not deadlock.
    5. Timers come due by the database's time, and those that have been due for the longest are claimed first. The next
       save moves or cancels the timer.
    6. A due instance is claimed by one caller only; a claim is bounded by its `limit`. Other callers skip locked
       instances, or, on an engine with one writer, wait until they were saved.
    7. The journal is append-only and keeps its order, within one save and from save to save. A detail longer than
       `JOURNAL_DETAIL_CHARACTERS_MAX` is cut off.
    8. Only instances in a terminal status are pruned, with their journals, `limit` at most. One that runs or needs
       attention stays, however old it is.
    """

    async def create(self, db_tx: DatabaseTransaction, record: SagaRecord, entries: Sequence[JournalEntry]) -> bool:
        """Store a new instance (version 1). False: an instance of this id exists, nothing was written."""

    async def load(self, db_tx: DatabaseTransaction, saga_id: UUID) -> SagaRecord:
        """Return an instance, locked until the transaction ends. Raises `NotFound`."""

    async def load_many(self, db_tx: DatabaseTransaction, saga_ids: Collection[UUID]) -> Mapping[UUID, SagaRecord]:
        """Return those of the instances that exist, locked until the transaction ends, in one round trip.

        They are locked in the order of their ids, so that two transactions never wait for each other.
        """

    async def save(self, db_tx: DatabaseTransaction, record: SagaRecord, entries: Sequence[JournalEntry]) -> None:
        """Store the next state. `record.version` is the loaded version; it is stored increased by one.

        Raises `ConcurrencyConflict` where another caller saved first. One round trip, the journal included.
        """

    async def save_many(
        self, db_tx: DatabaseTransaction, changes: Sequence[tuple[SagaRecord, Sequence[JournalEntry]]]
    ) -> None:
        """`save` for several instances, each at most once, in one round trip where the engine can.

        Raises `ConcurrencyConflict` where another caller saved one of them first; the transaction must not commit then.
        """

    async def save_last(
        self, db_tx: DatabaseTransaction, changes: Sequence[tuple[SagaRecord, Sequence[JournalEntry]]]
    ) -> None:
        """As `save_many`, for the last write to these instances in a transaction that saves them at its end.

        An engine may write them with the commit, in the order of their ids. Then the end of the block raises
        `ConcurrencyConflict`, and nothing of the transaction remains.
        """
        if len(changes) == 1:
            await self.save(db_tx, *changes[0])
        else:
            await self.save_many(db_tx, changes)

    async def claim_due(self, db_tx: DatabaseTransaction, limit: int) -> Sequence[SagaRecord]:
        """Return instances that are due, locked until the transaction ends; those locked by others are skipped."""

    async def next_due_seconds(self) -> float | None:
        """Return the seconds until the next timer (negative: overdue for that long), None where there is no timer."""

    async def find(self, wanted: SagaFilter) -> Sequence[SagaRecord]:
        """Return instances, newest first."""

    async def journal(self, saga_id: UUID) -> Sequence[JournalEntry]:
        """Return the journal of an instance, oldest entry first."""

    async def count(self) -> dict[tuple[str, SagaStatus], int]:
        """Return the number of instances by definition and status."""

    async def backlog(self) -> Mapping[tuple[str, SagaStatus], SagaBacklog]:
        """Return the instances that have not ended, by definition and status; what is not there is left out. It does
        not read those that have ended, which are most of them.
        """

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete terminal instances that ended longer ago, `limit` at most, with their journals; returns how many."""


DUE: Final = Signal("sagas-due")
"""A commit left an instance that is due at once, or soon."""
SAGAS: Final[Port[SagaStore]] = Port(
    "saga", "instances of sagas", SagaStore, "freehold.conformance.saga:SagaStoreConformance"
)
