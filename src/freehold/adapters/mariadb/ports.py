"""The ports that MariaDB has. Adapter: imports its stores, the SQL base and the keys of the ports; no driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from freehold.adapters.mariadb.checkpoints import MariaDbCheckpointStore
from freehold.adapters.mariadb.datasets import MariaDbDatasetStore
from freehold.adapters.mariadb.events import MariaDbEventStore
from freehold.adapters.mariadb.inbox import MariaDbInboxStore
from freehold.adapters.mariadb.leases import MariaDbLeaseStore
from freehold.adapters.mariadb.logs import MariaDbBrokerLogStore
from freehold.adapters.mariadb.outbox import MariaDbOutboxStore
from freehold.adapters.mariadb.saga import MariaDbSagaStore
from freehold.adapters.mariadb.schedule import MariaDbScheduleStore
from freehold.adapters.mariadb.sent import MariaDbSentStore
from freehold.adapters.sql.audit import SqlAuditStore
from freehold.adapters.sql.deadletters import SqlDeadLetterStore
from freehold.adapters.sql.idempotency import SqlIdempotencyStore
from freehold.adapters.sql.ports import on_sql
from freehold.adapters.sql.progress import SqlProgressStore
from freehold.adapters.sql.reconciliations import SqlReconciliationStore
from freehold.adapters.sql.replays import SqlReplayStore
from freehold.adapters.sql.snapshots import SqlSnapshotStore
from freehold.adapters.sql.sql import SqlStatements
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
from freehold.projection.read_model_store import READ_MODELS, ReadModelStore
from freehold.projection.replay_store import REPLAYS
from freehold.projection.store import CHECKPOINTS
from freehold.projection.view_store import VIEWS, ViewStore
from freehold.reconcile.dataset_store import DATASETS
from freehold.reconcile.store import RECONCILIATIONS
from freehold.saga.store import SAGAS
from freehold.schedule.store import SCHEDULE
from freehold.sql import SQL

if TYPE_CHECKING:
    from freehold.adapters.mariadb.database import MariaDbDatabase

__all__ = ["PORTS"]


def _read_models(database: MariaDbDatabase) -> ReadModelStore:
    # Imported here: the tables are SQLAlchemy's.
    from freehold.adapters.mariadb.read_models import MariaDbReadModelStore

    return MariaDbReadModelStore(database, database.dialect)


def _views(database: MariaDbDatabase) -> ViewStore:
    # Imported here: the database needs the driver.
    from freehold.adapters.mariadb.views import MariaDbViewStore

    return MariaDbViewStore(database, database.dialect)


PORTS: Final[Sequence[Provision[MariaDbDatabase]]] = (
    on_sql(SQL, SqlStatements),
    on_sql(LEASES, MariaDbLeaseStore),
    on_sql(OUTBOX, MariaDbOutboxStore),
    on_sql(SENT, MariaDbSentStore),
    on_sql(BROKER_LOGS, MariaDbBrokerLogStore),
    on_sql(INBOX, MariaDbInboxStore),
    on_sql(DEAD_LETTERS, SqlDeadLetterStore),
    on_sql(SCHEDULE, MariaDbScheduleStore),
    on_sql(AUDIT, SqlAuditStore),
    on_sql(IDEMPOTENCY, SqlIdempotencyStore),
    on_sql(SAGAS, MariaDbSagaStore),
    on_sql(EVENTS, MariaDbEventStore),
    on_sql(SNAPSHOTS, SqlSnapshotStore),
    on_sql(PROGRESS, SqlProgressStore),
    on_sql(RECONCILIATIONS, SqlReconciliationStore),
    on_sql(CHECKPOINTS, MariaDbCheckpointStore),
    on_sql(REPLAYS, SqlReplayStore),
    provide(READ_MODELS, _read_models),
    provide(VIEWS, _views),
    on_sql(DATASETS, MariaDbDatasetStore),
)
