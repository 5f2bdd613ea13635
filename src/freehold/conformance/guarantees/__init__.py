"""The guarantees of the ports, and the tests of the suites that prove them; the docs' table is generated from this. A
guarantee refers to its tests as functions, so that a renamed test is an error here. A test that no guarantee refers to
is listed in the table by its own name.
"""

from __future__ import annotations

from typing import Any, Final

from freehold.conformance.audit import AuditStoreConformance as Audit
from freehold.conformance.broker import BrokerConformance as Broker
from freehold.conformance.checkpoints import CheckpointStoreConformance as Checkpoints
from freehold.conformance.database import DatabaseConformance as Database
from freehold.conformance.datasets import DatasetStoreConformance as Datasets
from freehold.conformance.deadletters import DeadLetterStoreConformance as DeadLetters
from freehold.conformance.events import EventStoreConformance as Events
from freehold.conformance.guarantees import infrastructure, messages, storage, tables
from freehold.conformance.guarantees.guarantee import Guarantee
from freehold.conformance.hints import HintChannelConformance as Hints
from freehold.conformance.idempotency import IdempotencyStoreConformance as Idempotency
from freehold.conformance.inbox import InboxStoreConformance as Inbox
from freehold.conformance.leases import LeaseStoreConformance as Leases
from freehold.conformance.logs import BrokerLogStoreConformance as Logs
from freehold.conformance.outbox import OutboxStoreConformance as Outbox
from freehold.conformance.progress import ProgressStoreConformance as Progress
from freehold.conformance.read_models import ReadModelStoreConformance as ReadModels
from freehold.conformance.reconciliations import ReconciliationStoreConformance as Reconciliations
from freehold.conformance.replays import ReplayStoreConformance as Replays
from freehold.conformance.saga import SagaStoreConformance as Saga
from freehold.conformance.schedule import ScheduleStoreConformance as Schedule
from freehold.conformance.sent import SentStoreConformance as Sent
from freehold.conformance.snapshots import SnapshotStoreConformance as Snapshots
from freehold.conformance.sql import SqlConformance as Sql
from freehold.conformance.transaction import TransactionConformance as Transactions
from freehold.conformance.views import ViewStoreConformance as Views

__all__ = ["GUARANTEES", "SUITES", "Guarantee"]

SUITES: Final[dict[str, type[Any]]] = {
    "Database": Database,
    "Transactions": Transactions,
    "Outbox": Outbox,
    "Messages sent again": Sent,
    "Logs of brokers": Logs,
    "Inbox and retries": Inbox,
    "Dead letters": DeadLetters,
    "Scheduled messages": Schedule,
    "Sagas": Saga,
    "Events": Events,
    "Snapshots": Snapshots,
    "Projections' checkpoints": Checkpoints,
    "Progress of consumers": Progress,
    "Historical replays": Replays,
    "Leases": Leases,
    "Hints": Hints,
    "Idempotency keys": Idempotency,
    "Comparisons of replicas": Reconciliations,
    "Statements in SQL": Sql,
    "Read models": ReadModels,
    "Materialized views": Views,
    "Datasets": Datasets,
    "Audit": Audit,
    "Broker": Broker,
}
"""The suites by their heading in the docs."""

GUARANTEES: Final[tuple[Guarantee, ...]] = (
    *infrastructure.DATABASE,
    *infrastructure.TRANSACTIONS,
    *messages.OUTBOX,
    *messages.SENT,
    *messages.PROGRESS,
    *messages.INBOX,
    *messages.LETTERS,
    *messages.SCHEDULE,
    *storage.SAGA,
    *storage.EVENTS,
    *storage.SNAPSHOTS,
    *storage.CHECKPOINTS,
    *storage.REPLAYS,
    *infrastructure.LEASES,
    *infrastructure.HINTS,
    *infrastructure.IDEMPOTENCY,
    *infrastructure.AUDIT,
    *tables.COMPARISONS,
    *tables.SQL,
    *tables.READ_MODELS,
    *tables.VIEWS,
    *tables.DATASETS,
    *messages.BROKER,
)
"""All guarantees, in the order of the docs."""
