"""The ports that SQLite has. Adapter: imports its stores, the SQL base and the ports' keys; no driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from freehold.adapters.sql.logs import SqlBrokerLogStore
from freehold.adapters.sql.ports import SHARED, SpeaksSql, on_sql
from freehold.adapters.sql.schedule import SqlScheduleStore
from freehold.adapters.sqlite.datasets import SqliteDatasetStore
from freehold.adapters.sqlite.events import SqliteEventStore
from freehold.adapters.sqlite.inbox import SqliteInboxStore
from freehold.adapters.sqlite.outbox import STAGED_SQL, SqliteOutboxStore
from freehold.adapters.sqlite.saga import SqliteSagaStore
from freehold.adapters.sqlite.sent import SqliteSentStore
from freehold.adapters.sqlite.views import SqliteViewStore
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
    from freehold.adapters.sqlite.database import SqliteDatabase

__all__ = ["PORTS"]


def _logs(database: SpeaksSql) -> SqlBrokerLogStore:
    return SqlBrokerLogStore(database, database.dialect, staged_sql=STAGED_SQL)


def _leases(database: SqliteDatabase) -> LeaseStore:
    # Imported here, because it needs the driver.
    from freehold.adapters.sqlite.leases import SqliteLeaseStore

    return SqliteLeaseStore(database, database.dialect)


def _read_models(database: SqliteDatabase) -> ReadModelStore:
    # Imported here, because it imports SQLAlchemy.
    from freehold.adapters.sqlite.read_models import SqliteReadModelStore

    return SqliteReadModelStore(database, database.dialect)


PORTS: Final[Sequence[Provision[SqliteDatabase]]] = (
    on_sql(OUTBOX, SqliteOutboxStore),
    on_sql(SENT, SqliteSentStore),
    provide(BROKER_LOGS, _logs),
    on_sql(INBOX, SqliteInboxStore),
    on_sql(SCHEDULE, SqlScheduleStore),
    on_sql(SAGAS, SqliteSagaStore),
    provide(LEASES, _leases),
    on_sql(EVENTS, SqliteEventStore),
    provide(READ_MODELS, _read_models),
    on_sql(VIEWS, SqliteViewStore),
    on_sql(DATASETS, SqliteDatasetStore),
    *SHARED,
)
