"""PostgreSQL.

Nothing is imported before a database is asked for: the driver is an extra (`freehold[postgres]`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from freehold.clock import Clock
from freehold.database import DatabaseOptions
from freehold.errors import MissingDriver
from freehold.migrations import Migration

if TYPE_CHECKING:
    from freehold.binding import Stores

__all__ = ["PostgresAdapter", "adapter"]


class PostgresAdapter:
    """Makes the stores of a `postgresql://` URL."""

    database_schemes: Sequence[str] = ("postgresql",)

    def stores(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> Stores:
        """Make the stores without connecting. Raises `ConfigurationError`, `MissingDriver`."""
        if find_spec("asyncpg") is None:
            raise MissingDriver("asyncpg", extra="postgres")
        from freehold.adapters.postgres.database import PostgresDatabase
        from freehold.adapters.postgres.events import PostgresEventStore
        from freehold.adapters.postgres.inbox import PostgresInboxStore
        from freehold.adapters.postgres.leases import PostgresLeaseStore
        from freehold.adapters.postgres.outbox import PostgresOutboxStore
        from freehold.adapters.postgres.saga import PostgresSagaStore
        from freehold.adapters.postgres.schedule import PostgresScheduleStore
        from freehold.adapters.postgres.views import PostgresViewStore
        from freehold.adapters.sql.audit import SqlAuditStore
        from freehold.adapters.sql.checkpoints import SqlCheckpointStore
        from freehold.adapters.sql.deadletters import SqlDeadLetterStore
        from freehold.adapters.sql.idempotency import SqlIdempotencyStore
        from freehold.adapters.sql.progress import SqlProgressStore
        from freehold.adapters.sql.reconciliations import SqlReconciliationStore
        from freehold.adapters.sql.replays import SqlReplayStore
        from freehold.adapters.sql.snapshots import SqlSnapshotStore
        from freehold.binding import Stores

        database = PostgresDatabase(url, options, migrations, clock)
        dialect = database.dialect
        outbox = PostgresOutboxStore(database, dialect)
        return Stores(
            database=database,
            outbox=outbox,
            inbox=PostgresInboxStore(database, dialect),
            dead_letters=SqlDeadLetterStore(database, dialect),
            schedule=PostgresScheduleStore(database, dialect, outbox),
            sagas=PostgresSagaStore(database, dialect),
            leases=PostgresLeaseStore(database, dialect),
            idempotency=SqlIdempotencyStore(database, dialect),
            audit=SqlAuditStore(database, dialect),
            events=PostgresEventStore(database, dialect),
            snapshots=SqlSnapshotStore(database, dialect),
            checkpoints=SqlCheckpointStore(database, dialect),
            replays=SqlReplayStore(database, dialect),
            views=PostgresViewStore(database, dialect),
            progress=SqlProgressStore(database, dialect),
            reconciliations=SqlReconciliationStore(database, dialect),
        )


adapter: Final = PostgresAdapter()
