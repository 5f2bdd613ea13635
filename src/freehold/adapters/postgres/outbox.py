"""The outbox on PostgreSQL: staged in one statement that serialises the transactions of a key. Imports the SQL base.

Two transactions that stage for one key could draw positions in one order and commit in the other. So the statement
first takes a transaction-level advisory lock for each key, in a fixed order, and draws positions after it has them all;
the locks go with the commit, after it has become visible. Keys that share a hash wait for each other without need.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from freehold.adapters.sql.connection import SqlConnection, SqlDatabase
from freehold.adapters.sql.dialect import Dialect
from freehold.adapters.sql.outbox import REASON_CHARACTERS_MAX, SqlOutboxStore
from freehold.adapters.sql.store import sql_of
from freehold.broker import Outgoing
from freehold.database import UnitOfWork
from freehold.ids import stable_hash
from freehold.outbox.store import StagedMessage

__all__ = ["PostgresOutboxStore"]

_LOCK_SPACE = "freehold.outbox/"


class PostgresOutboxStore(SqlOutboxStore):
    """Rows by partition and position; the relay's statements are functions in the database (see the migrations)."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._stage = f"""
WITH locked AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(l.hash) FROM unnest($2::bigint[]) AS l (hash)
), gate AS MATERIALIZED (
    SELECT count(*) AS locks FROM locked
)
INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at)
SELECT m.partition, m.id, m.topic, m.key, m.document, {now}
FROM gate, unnest($3::integer[], $4::uuid[], $5::text[], $6::text[], $7::bytea[])
    WITH ORDINALITY AS m (partition, id, topic, key, document, ordinal)
WHERE gate.locks > 0
ORDER BY m.ordinal
RETURNING position"""
        self._fetch = f"SELECT * FROM freehold_outbox_oldest($2::jsonb, {now}, $3::integer)"
        self._postpone = (
            f"SELECT freehold_outbox_postpone($2::jsonb, $3::bigint, {dialect.later_sql(now, 4)}, $5::text)"
        )

    async def stage(self, unit: UnitOfWork, messages: Sequence[Outgoing]) -> Sequence[int]:
        """Lock the keys and insert, in one round trip."""
        if not messages:
            return ()
        parameters = (
            self._dialect.now(),
            sorted({stable_hash(_LOCK_SPACE + message.key) for message in messages}),
            [self._partition(message.key) for message in messages],
            [message.id for message in messages],
            [message.topic for message in messages],
            [message.key for message in messages],
            [message.document for message in messages],
        )
        return sorted(row[0] for row in await sql_of(unit).fetch(self._stage, parameters))

    async def fetch(self, leases: Mapping[int, int], limit: int) -> Sequence[StagedMessage]:
        """The oldest rows of the partitions leased."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._fetch, (self._dialect.now(), self._leases(leases), limit))
        return [self._staged(row) for row in rows]

    async def postpone(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """Block the row's key, in one statement."""
        parameters = (self._leases(leases), message.position, delay_seconds, reason[:REASON_CHARACTERS_MAX])
        async with self._database.direct() as sql:
            return bool((await sql.fetch(self._postpone, (self._dialect.now(), *parameters)))[0][0])

    async def _remove(self, sql: SqlConnection, leases: str, positions: Collection[int]) -> int:
        rows = await sql.fetch("SELECT freehold_outbox_remove($1::jsonb, $2::bigint[])", (leases, list(positions)))
        return int(rows[0][0])
