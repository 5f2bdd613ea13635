"""Everything in memory: the reference that passes the same conformance suites as the servers. For tests.

`memory://name` shares its data between the databases of that name in one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.adapters.memory.audit import MemoryAuditStore
from freehold.adapters.memory.checkpoints import MemoryCheckpointStore
from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.deadletters import MemoryDeadLetterStore
from freehold.adapters.memory.events import MemoryEventStore
from freehold.adapters.memory.idempotency import MemoryIdempotencyStore
from freehold.adapters.memory.inbox import MemoryInboxStore
from freehold.adapters.memory.leases import MemoryLeaseStore
from freehold.adapters.memory.outbox import MemoryOutboxStore
from freehold.adapters.memory.progress import MemoryProgressStore
from freehold.adapters.memory.reconciliations import MemoryReconciliationStore
from freehold.adapters.memory.replays import MemoryReplayStore
from freehold.adapters.memory.saga import MemorySagaStore
from freehold.adapters.memory.schedule import MemoryScheduleStore
from freehold.adapters.memory.snapshots import MemorySnapshotStore
from freehold.adapters.memory.views import MemoryViewStore
from freehold.binding import Stores
from freehold.broker import Broker, BrokerOptions
from freehold.clock import Clock, SystemClock
from freehold.database import DatabaseOptions
from freehold.migrations import Migration

__all__ = ["MemoryAdapter", "adapter"]


@dataclass(frozen=True, slots=True)
class MemoryAdapter:
    """Makes databases and brokers in memory."""

    database_schemes: Sequence[str] = ("memory",)
    broker_schemes: Sequence[str] = ("memory",)

    def stores(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> Stores:
        """Make a database with all its stores. Raises `ConfigurationError`."""
        database = MemoryDatabase(url, options, migrations, clock)
        return Stores(
            database=database,
            outbox=MemoryOutboxStore(database),
            inbox=MemoryInboxStore(database),
            dead_letters=MemoryDeadLetterStore(database),
            schedule=MemoryScheduleStore(database),
            sagas=MemorySagaStore(database),
            leases=MemoryLeaseStore(database),
            idempotency=MemoryIdempotencyStore(database),
            audit=MemoryAuditStore(database),
            events=MemoryEventStore(database),
            snapshots=MemorySnapshotStore(database),
            checkpoints=MemoryCheckpointStore(database),
            replays=MemoryReplayStore(database),
            views=MemoryViewStore(),
            progress=MemoryProgressStore(database),
            reconciliations=MemoryReconciliationStore(database),
        )

    def broker(self, url: str, options: BrokerOptions, clock: Clock | None = None) -> Broker:
        """Make a broker. Raises `ConfigurationError`."""
        from freehold.adapters.memory.broker import MemoryBroker

        return MemoryBroker(options, clock or SystemClock())


adapter = MemoryAdapter()
