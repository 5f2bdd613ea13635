"""The ports that a database in memory has. Adapter: imports its stores and the ports' keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.memory.audit import MemoryAuditStore
from freehold.adapters.memory.checkpoints import MemoryCheckpointStore
from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.deadletters import MemoryDeadLetterStore
from freehold.adapters.memory.events import MemoryEventStore
from freehold.adapters.memory.idempotency import MemoryIdempotencyStore
from freehold.adapters.memory.inbox import MemoryInboxStore
from freehold.adapters.memory.leases import MemoryLeaseStore
from freehold.adapters.memory.logs import MemoryBrokerLogStore
from freehold.adapters.memory.outbox import MemoryOutboxStore
from freehold.adapters.memory.progress import MemoryProgressStore
from freehold.adapters.memory.reconciliations import MemoryReconciliationStore
from freehold.adapters.memory.replays import MemoryReplayStore
from freehold.adapters.memory.saga import MemorySagaStore
from freehold.adapters.memory.schedule import MemoryScheduleStore
from freehold.adapters.memory.sent import MemorySentStore
from freehold.adapters.memory.snapshots import MemorySnapshotStore
from freehold.aggregate.store import SNAPSHOTS
from freehold.audit.store import AUDIT
from freehold.consistency.store import PROGRESS
from freehold.deadletters.store import DEAD_LETTERS
from freehold.eventstore.store import EVENTS
from freehold.idempotency.store import IDEMPOTENCY
from freehold.inbox.store import INBOX
from freehold.leases.store import LEASES
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.sent import SENT
from freehold.outbox.store import OUTBOX
from freehold.ports import Provision, provide
from freehold.projection.replay_store import REPLAYS
from freehold.projection.store import CHECKPOINTS
from freehold.reconcile.store import RECONCILIATIONS
from freehold.saga.store import SAGAS
from freehold.schedule.store import SCHEDULE

__all__ = ["PORTS"]

PORTS: Final[Sequence[Provision[MemoryDatabase]]] = (
    provide(OUTBOX, MemoryOutboxStore),
    provide(SENT, MemorySentStore),
    provide(BROKER_LOGS, MemoryBrokerLogStore),
    provide(INBOX, MemoryInboxStore),
    provide(DEAD_LETTERS, MemoryDeadLetterStore),
    provide(SCHEDULE, MemoryScheduleStore),
    provide(SAGAS, MemorySagaStore),
    provide(LEASES, MemoryLeaseStore),
    provide(IDEMPOTENCY, MemoryIdempotencyStore),
    provide(AUDIT, MemoryAuditStore),
    provide(EVENTS, MemoryEventStore),
    provide(SNAPSHOTS, MemorySnapshotStore),
    provide(CHECKPOINTS, MemoryCheckpointStore),
    provide(REPLAYS, MemoryReplayStore),
    provide(PROGRESS, MemoryProgressStore),
    provide(RECONCILIATIONS, MemoryReconciliationStore),
)
