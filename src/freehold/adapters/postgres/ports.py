"""The ports that PostgreSQL has. Adapter: imports its stores, the SQL base and the ports' keys; no driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from freehold.adapters.postgres.datasets import PostgresDatasetStore
from freehold.adapters.postgres.events import PostgresEventStore
from freehold.adapters.postgres.inbox import PostgresInboxStore
from freehold.adapters.postgres.outbox import STAGED_SQL, PostgresOutboxStore
from freehold.adapters.postgres.progress import PostgresProgressStore
from freehold.adapters.postgres.saga import PostgresSagaStore
from freehold.adapters.postgres.schedule import PostgresScheduleStore
from freehold.adapters.postgres.sent import PostgresSentStore
from freehold.adapters.postgres.views import PostgresViewStore
from freehold.adapters.sql.logs import SqlBrokerLogStore
from freehold.adapters.sql.ports import SHARED, SpeaksSql, on_sql
from freehold.consistency.store import PROGRESS
from freehold.eventstore.store import EVENTS
from freehold.inbox.store import INBOX
from freehold.leases.store import LEASES, LeaseStore
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.sent import SENT
from freehold.outbox.store import OUTBOX
from freehold.ports import Provision, provide
from freehold.projection.read_model_store import READ_MODELS, ReadModelStore
from freehold.projection.view_store import VIEWS
from freehold.reconcile.dataset_store import DATASETS
from freehold.saga.store import SAGAS
from freehold.schedule.store import SCHEDULE

if TYPE_CHECKING:
    from freehold.adapters.postgres.database import PostgresDatabase

__all__ = ["PORTS"]


def _logs(database: SpeaksSql) -> SqlBrokerLogStore:
    return SqlBrokerLogStore(database, database.dialect, staged_sql=STAGED_SQL)


def _leases(database: PostgresDatabase) -> LeaseStore:
    # Imported here, because it needs the driver.
    from freehold.adapters.postgres.leases import PostgresLeaseStore

    return PostgresLeaseStore(database, database.dialect)


def _read_models(database: PostgresDatabase) -> ReadModelStore:
    # Imported here, because it imports SQLAlchemy.
    from freehold.adapters.postgres.read_models import PostgresReadModelStore

    return PostgresReadModelStore(database, database.dialect)


PORTS: Final[Sequence[Provision[PostgresDatabase]]] = (
    on_sql(OUTBOX, PostgresOutboxStore),
    on_sql(SENT, PostgresSentStore),
    provide(BROKER_LOGS, _logs),
    on_sql(INBOX, PostgresInboxStore),
    on_sql(SCHEDULE, PostgresScheduleStore),
    on_sql(SAGAS, PostgresSagaStore),
    provide(LEASES, _leases),
    on_sql(EVENTS, PostgresEventStore),
    provide(READ_MODELS, _read_models),
    on_sql(VIEWS, PostgresViewStore),
    on_sql(DATASETS, PostgresDatasetStore),
    on_sql(PROGRESS, PostgresProgressStore),
    *(each for each in SHARED if each.port is not PROGRESS),
)
