"""The outbox on SQLite. With one writer at a time, positions are in the order of commit. Imports the SQL base.

Rows are read in order of position, which is their order in the file; `+partition` keeps the planner from any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.statement_outbox import StatementOutboxStore
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.outbox.store import EVER_SECONDS, OutboxBatch

__all__ = ["STAGED_SQL", "SqliteOutboxStore", "held_sql", "taken_sql"]

STAGED_SQL: Final = "EXISTS (SELECT 1 FROM sqlite_sequence AS q WHERE q.name = 'freehold_outbox' AND q.seq > 0)"
"""The condition that the outbox has ever had a row."""
_RAISE_PENDING = """\
INSERT INTO freehold_outbox_watermark (partition, position) VALUES ($1, $2)
ON CONFLICT (partition) DO UPDATE SET position = max(freehold_outbox_watermark.position, excluded.position)"""


def held_sql(dialect: Dialect) -> str:
    """A query for the partitions of the leases in `$1` whose tokens are valid."""
    return (
        f"SELECT g.partition FROM {dialect.relation_sql(1, 'partition integer, token bigint, name text')} AS g"
        " JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token"
    )


def taken_sql(row: str, written: str, since: str) -> str:
    """A query for sent messages of a row's key that precede it, and that the broker may have lost in an open loss."""
    return (
        f"SELECT s.position FROM freehold_outbox_sent AS s WHERE s.key = {row}.key AND s.losses < {written}"
        f" AND s.position < {row}.position AND +s.sent_at >= {since}"
    )


class SqliteOutboxStore(StatementOutboxStore):
    """Stores staged messages by position."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        held = held_sql(dialect)
        self._raise_pending_sql = _RAISE_PENDING
        # The statement begins with SELECT, so that it does not wait for writers (`QueuedWrites`).
        self._fetch = f"""
SELECT * FROM (WITH held AS MATERIALIZED ({held}), blocked AS MATERIALIZED (
    SELECT DISTINCT b.partition, b.key FROM freehold_outbox AS b WHERE b.blocked_until > $2
), loss AS MATERIALIZED (
    SELECT coalesce(sum(g.losses), 0) AS written, coalesce(max(g.lost_at IS NOT NULL), 0) AS lost
    FROM freehold_outbox_log AS g
)
SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, o.attempts, NULL, NULL, NULL FROM (
    SELECT q.* FROM freehold_outbox AS q
    WHERE +q.partition IN (SELECT h.partition FROM held AS h) AND q.key NOT IN (SELECT b.key FROM blocked AS b)
    ORDER BY q.position LIMIT $3
) AS o CROSS JOIN loss AS l
WHERE NOT (l.lost AND EXISTS ({taken_sql("o", "l.written", dialect.later_sql("$2", 4))}))
UNION ALL
SELECT min(
    coalesce((SELECT q.seq FROM sqlite_sequence AS q WHERE q.name = 'freehold_outbox'), 0),
    CASE WHEN EXISTS (SELECT 1 FROM blocked AS b WHERE b.partition = h.partition) THEN coalesce((
        SELECT o.position - 1 FROM freehold_outbox AS o
        WHERE +o.partition = h.partition AND o.key IN (SELECT b.key FROM blocked AS b)
        ORDER BY o.position LIMIT 1
    ), 0) ELSE 9223372036854775807 END,
    CASE WHEN l.lost THEN 0 ELSE 9223372036854775807 END
), h.partition, NULL, NULL, NULL, NULL, NULL, coalesce(w.position, 0), l.written, l.lost
FROM held AS h CROSS JOIN loss AS l LEFT JOIN freehold_outbox_watermark AS w ON w.partition = h.partition)"""
        self._remove_sql = f"""
DELETE FROM freehold_outbox WHERE position {dialect.in_sql(2, "bigint")} AND +partition IN ({held})"""
        self._confirm_sql = f"""
INSERT INTO freehold_outbox_watermark (partition, position)
SELECT n.partition, n.position FROM {dialect.relation_sql(2, "partition integer, position bigint")} AS n
WHERE n.partition IN ({held})
ON CONFLICT (partition) DO UPDATE SET position = CASE excluded.position
    WHEN 0 THEN 0 ELSE max(freehold_outbox_watermark.position, excluded.position) END"""
        self._keep_sql = f"""
INSERT OR REPLACE INTO freehold_outbox_sent (position, partition, id, topic, key, document, sent_at, losses)
SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, coalesce(o.sent_at, $3), $4 FROM freehold_outbox AS o
WHERE o.position {dialect.in_sql(2, "bigint")} AND +o.partition IN ({held})"""
        self._reschedule = f"""
UPDATE freehold_outbox SET blocked_until = {dialect.later_sql("$2", 3)}, attempts = attempts + 1, reason = $4
WHERE position = $5 AND +partition IN ({held})"""

    def _oldest(self, number: int) -> str:
        return f"(SELECT staged_at FROM freehold_outbox WHERE ${number} > 0 ORDER BY position LIMIT 1)"

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        """Insert the messages; returns their positions. These are consecutive: no other transaction can write."""
        now = self._dialect.now()
        rows = [
            (self._partition(each.key), self._dialect.uuid(each.id), each.topic, each.key, each.document, now)
            for each in messages
        ]
        if not rows:
            return ()
        sql = sql_of(db_tx)
        await sql.execute_many(
            "INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            rows,
        )
        last = int((await sql.fetch("SELECT last_insert_rowid()"))[0][0])
        return range(last - len(rows) + 1, last + 1)

    async def fetch(
        self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS
    ) -> OutboxBatch:
        """The oldest rows of the leased partitions, and their high-water marks: every drawn position is committed."""
        async with self._database.direct() as sql:
            parameters = (self._leases(leases), self._dialect.now(), limit, -recall_seconds)
            rows = await sql.fetch(self._fetch, parameters)
        return self._fetched(rows, limit)
