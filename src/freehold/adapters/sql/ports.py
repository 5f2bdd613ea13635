"""The provisions of ports whose stores are the same on all SQL engines. Imports its siblings and the ports' keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from freehold.adapters.sql.audit import SqlAuditStore
from freehold.adapters.sql.checkpoints import SqlCheckpointStore
from freehold.adapters.sql.deadletters import SqlDeadLetterStore
from freehold.adapters.sql.engine.connection import SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.idempotency import SqlIdempotencyStore
from freehold.adapters.sql.progress import SqlProgressStore
from freehold.adapters.sql.reconciliations import SqlReconciliationStore
from freehold.adapters.sql.replays import SqlReplayStore
from freehold.adapters.sql.snapshots import SqlSnapshotStore
from freehold.adapters.sql.sql import SqlStatements
from freehold.aggregate.store import SNAPSHOTS
from freehold.audit.store import AUDIT
from freehold.consistency.store import PROGRESS
from freehold.deadletters.store import DEAD_LETTERS
from freehold.idempotency.store import IDEMPOTENCY
from freehold.ports import Port, Provision, provide
from freehold.projection.replay_store import REPLAYS
from freehold.projection.store import CHECKPOINTS
from freehold.reconcile.store import RECONCILIATIONS
from freehold.sql import SQL

__all__ = ["SHARED", "SpeaksSql", "on_sql"]

T = TypeVar("T")


class SpeaksSql(SqlDatabase, Protocol):
    """A database with its dialect."""

    @property
    def dialect(self) -> Dialect:
        """The expressions that SQL engines write in different ways."""


def on_sql(port: Port[T], store: Callable[[SqlDatabase, Dialect], T]) -> Provision[SpeaksSql]:
    """The provision of a port by a store that is made with a database and its dialect."""

    def make(database: SpeaksSql) -> T:
        return store(database, database.dialect)

    return provide(port, make)


SHARED: Final[Sequence[Provision[SpeaksSql]]] = (
    on_sql(SQL, SqlStatements),
    on_sql(DEAD_LETTERS, SqlDeadLetterStore),
    on_sql(IDEMPOTENCY, SqlIdempotencyStore),
    on_sql(AUDIT, SqlAuditStore),
    on_sql(SNAPSHOTS, SqlSnapshotStore),
    on_sql(CHECKPOINTS, SqlCheckpointStore),
    on_sql(REPLAYS, SqlReplayStore),
    on_sql(PROGRESS, SqlProgressStore),
    on_sql(RECONCILIATIONS, SqlReconciliationStore),
)
