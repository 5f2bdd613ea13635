"""The stores in a schema of their own: all suites whose statements, functions and locks a schema changes."""

from __future__ import annotations

from tests.conformance.engines import OnPostgresSchema

from freehold.conformance.checkpoints import CheckpointStoreConformance
from freehold.conformance.database import DatabaseConformance
from freehold.conformance.deadletters import DeadLetterStoreConformance
from freehold.conformance.events import EventStoreConformance
from freehold.conformance.idempotency import IdempotencyStoreConformance
from freehold.conformance.inbox import InboxStoreConformance
from freehold.conformance.leases import LeaseStoreConformance
from freehold.conformance.outbox import OutboxStoreConformance
from freehold.conformance.progress import ProgressStoreConformance
from freehold.conformance.reconciliations import ReconciliationStoreConformance
from freehold.conformance.replays import ReplayStoreConformance
from freehold.conformance.saga import SagaStoreConformance
from freehold.conformance.schedule import ScheduleStoreConformance
from freehold.conformance.snapshots import SnapshotStoreConformance


class TestDatabaseInASchema(OnPostgresSchema, DatabaseConformance):
    pass


class TestOutboxStoreInASchema(OnPostgresSchema, OutboxStoreConformance):
    pass


class TestInboxStoreInASchema(OnPostgresSchema, InboxStoreConformance):
    pass


class TestEventStoreInASchema(OnPostgresSchema, EventStoreConformance):
    pass


class TestCheckpointStoreInASchema(OnPostgresSchema, CheckpointStoreConformance):
    pass


class TestReplayStoreInASchema(OnPostgresSchema, ReplayStoreConformance):
    pass


class TestSagaStoreInASchema(OnPostgresSchema, SagaStoreConformance):
    pass


class TestScheduleStoreInASchema(OnPostgresSchema, ScheduleStoreConformance):
    pass


class TestLeaseStoreInASchema(OnPostgresSchema, LeaseStoreConformance):
    pass


class TestDeadLetterStoreInASchema(OnPostgresSchema, DeadLetterStoreConformance):
    pass


class TestIdempotencyStoreInASchema(OnPostgresSchema, IdempotencyStoreConformance):
    pass


class TestProgressStoreInASchema(OnPostgresSchema, ProgressStoreConformance):
    pass


class TestReconciliationStoreInASchema(OnPostgresSchema, ReconciliationStoreConformance):
    pass


class TestSnapshotStoreInASchema(OnPostgresSchema, SnapshotStoreConformance):
    pass
