"""Confirmed messages that are kept for a resend, on SQLite. Imports the SQL base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.outbox import leases_value
from freehold.adapters.sql.sent import SqlSentStore
from freehold.adapters.sqlite.outbox import held_sql
from freehold.database import DatabaseTransaction
from freehold.outbox.sent import SentAgain
from freehold.outbox.store import EVER_SECONDS

__all__ = ["SqliteSentStore"]


class SqliteSentStore(SqlSentStore):
    """Moves sent messages back to the outbox. `+sent_at` makes the planner read in order of position."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        chosen = dialect.in_sql(1, "bigint")
        self._wanted = """
SELECT s.position FROM freehold_outbox_sent AS s WHERE s.position > $1 AND s.position <= $2 AND +s.sent_at >= $3
ORDER BY s.position LIMIT $4"""
        # `+position` makes the planner use the index on keys, instead of reading all kept messages.
        self._waited_for = f"""
SELECT DISTINCT s.position FROM (
    SELECT sum(g.losses) AS written, max(g.lost_at IS NOT NULL) AS lost FROM freehold_outbox_log AS g
) AS l CROSS JOIN (
    SELECT o.key, o.position FROM freehold_outbox AS o
    WHERE +o.partition IN ({held_sql(dialect)}) AND o.key NOT IN (
        SELECT b.key FROM freehold_outbox AS b WHERE b.blocked_until > $2
    )
    ORDER BY o.position LIMIT $3
) AS o CROSS JOIN freehold_outbox_sent AS s
WHERE l.lost AND s.key = o.key AND s.losses < l.written AND +s.position < o.position
    AND +s.sent_at >= {dialect.later_sql("$2", 4)}
ORDER BY s.position LIMIT $3"""
        self._stage = f"""
INSERT OR IGNORE INTO freehold_outbox (position, partition, id, topic, key, document, staged_at, sent_at)
SELECT s.position, s.partition, s.id, s.topic, s.key, s.document, {dialect.now_sql(2)}, s.sent_at
FROM freehold_outbox_sent AS s WHERE s.position {chosen} ORDER BY s.position"""
        self._take = f"DELETE FROM freehold_outbox_sent WHERE position {chosen}"
        self._prune = f"""
DELETE FROM freehold_outbox_sent WHERE position IN (
    SELECT s.position FROM freehold_outbox_sent AS s WHERE s.sent_at < {dialect.later_sql(dialect.now_sql(1), 2)}
    ORDER BY s.sent_at LIMIT $3
)"""

    async def send_again(
        self, db_tx: DatabaseTransaction, since: datetime, after: int, through: int, limit: int
    ) -> SentAgain:
        """Move a page of sent messages back to the outbox, by three statements of one transaction."""
        sql = sql_of(db_tx)
        rows = await sql.fetch(self._wanted, (after, through, self._dialect.time(since), limit))
        positions = [int(row[0]) for row in rows]
        await self._move(sql, positions)
        return SentAgain(len(positions), positions[-1] if positions else through, len(positions) < limit)

    async def recall(self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS) -> int:
        """Move lost messages that precede waiting rows back to the outbox; returns their number.

        The query runs first without the write lock, and again with it.
        """
        parameters = (leases_value(self._dialect, leases), self._dialect.now(), limit, -recall_seconds)
        async with self._database.direct() as sql:
            found = await sql.fetch(self._waited_for, parameters)
        if not found:
            return 0
        async with self._database.begin() as db_tx:
            positions = [int(row[0]) for row in await db_tx.sql.fetch(self._waited_for, parameters)]
            await self._move(db_tx.sql, positions)
        return len(positions)

    async def _move(self, sql: SqlConnection, positions: Sequence[int]) -> None:
        if positions:
            given = self._dialect.list_value(positions)
            await sql.execute(self._stage, (given, self._dialect.now()))
            await sql.execute(self._take, (given,))

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old sent messages, along the index on their times; returns their number."""
        async with self._database.direct() as sql:
            return await sql.execute(self._prune, (self._dialect.now(), -older_than_seconds, limit))
