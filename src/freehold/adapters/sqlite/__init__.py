"""SQLite: one file a service, the embedded default.

Nothing is imported before a database is asked for: the drivers take a while, and other services may use other engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from freehold.clock import Clock
from freehold.database import DatabaseOptions
from freehold.migrations import Migration

if TYPE_CHECKING:
    from freehold.binding import Stores

__all__ = ["SqliteAdapter", "adapter"]


class SqliteAdapter:
    """Makes the stores of a `sqlite:///file` URL."""

    database_schemes: Sequence[str] = ("sqlite",)

    def stores(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> Stores:
        """Make the stores without connecting. Raises `ConfigurationError`."""
        from freehold.adapters.sql.audit import SqlAuditStore
        from freehold.adapters.sql.checkpoints import SqlCheckpointStore
        from freehold.adapters.sql.deadletters import SqlDeadLetterStore
        from freehold.adapters.sql.idempotency import SqlIdempotencyStore
        from freehold.adapters.sql.progress import SqlProgressStore
        from freehold.adapters.sql.reconciliations import SqlReconciliationStore
        from freehold.adapters.sql.replays import SqlReplayStore
        from freehold.adapters.sql.schedule import SqlScheduleStore
        from freehold.adapters.sql.snapshots import SqlSnapshotStore
        from freehold.adapters.sqlite.database import SqliteDatabase
        from freehold.adapters.sqlite.events import SqliteEventStore
        from freehold.adapters.sqlite.inbox import SqliteInboxStore
        from freehold.adapters.sqlite.leases import SqliteLeaseStore
        from freehold.adapters.sqlite.outbox import SqliteOutboxStore
        from freehold.adapters.sqlite.saga import SqliteSagaStore
        from freehold.adapters.sqlite.views import SqliteViewStore
        from freehold.binding import Stores

        database = SqliteDatabase(url, options, migrations, clock)
        dialect = database.dialect
        outbox = SqliteOutboxStore(database, dialect)
        return Stores(
            database=database,
            outbox=outbox,
            inbox=SqliteInboxStore(database, dialect),
            dead_letters=SqlDeadLetterStore(database, dialect),
            schedule=SqlScheduleStore(database, dialect, outbox),
            sagas=SqliteSagaStore(database, dialect),
            leases=SqliteLeaseStore(database, dialect),
            idempotency=SqlIdempotencyStore(database, dialect),
            audit=SqlAuditStore(database, dialect),
            events=SqliteEventStore(database, dialect),
            snapshots=SqlSnapshotStore(database, dialect),
            checkpoints=SqlCheckpointStore(database, dialect),
            replays=SqlReplayStore(database, dialect),
            views=SqliteViewStore(database, dialect),
            progress=SqlProgressStore(database, dialect),
            reconciliations=SqlReconciliationStore(database, dialect),
        )


adapter: Final = SqliteAdapter()
