"""Messages that were confirmed and are kept for a while, on MariaDB. Imports the SQL base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from freehold.adapters.mariadb.outbox import held_sql
from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.prune import prune_unlocked
from freehold.adapters.sql.families.upsert import insert_absent
from freehold.adapters.sql.outbox import leases_value
from freehold.adapters.sql.sent import SqlSentStore
from freehold.database import DatabaseTransaction
from freehold.outbox.sent import SentAgain
from freehold.outbox.store import EVER_SECONDS

__all__ = ["MariaDbSentStore"]

_WANTED: Final = """
SELECT s.position FROM freehold_outbox_sent AS s WHERE s.position > $1 AND s.position <= $2 AND s.sent_at >= $3
ORDER BY s.position LIMIT $4"""
_LOCK: Final = "SELECT position FROM freehold_outbox_sent WHERE position IN $1 ORDER BY position FOR UPDATE"
_TAKE: Final = "DELETE FROM freehold_outbox_sent WHERE position IN $1"


class MariaDbSentStore(SqlSentStore):
    """Rows are locked, moved and deleted in one transaction: two who want the same one move it once."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(2)
        self._waited_for = f"""
SELECT DISTINCT s.position FROM (
    SELECT sum(g.losses) AS written, max(g.lost_at IS NOT NULL) AS lost FROM freehold_outbox_log AS g
) AS l CROSS JOIN (
    SELECT o.key, o.position FROM freehold_outbox AS o FORCE INDEX (PRIMARY)
    WHERE o.partition IN (SELECT h.partition FROM ({held_sql(dialect)}) AS h) AND o.key NOT IN (
        SELECT b.key FROM freehold_outbox AS b WHERE b.blocked_until > {now}
    )
    ORDER BY o.position LIMIT $3
) AS o CROSS JOIN freehold_outbox_sent AS s
WHERE l.lost AND s.key = o.key AND s.losses < l.written AND s.position < o.position
    AND s.sent_at >= {dialect.later_sql(now, 4)}
ORDER BY s.position LIMIT $3"""
        self._stage = insert_absent(
            dialect,
            f"""
INSERT INTO freehold_outbox (position, partition, id, topic, key, document, staged_at, sent_at)
SELECT s.position, s.partition, s.id, s.topic, s.key, s.document, {now}, s.sent_at
FROM freehold_outbox_sent AS s WHERE s.position IN $1 ORDER BY s.position""",
        )
        old = f"""
SELECT position FROM freehold_outbox_sent WHERE sent_at < {dialect.later_sql(dialect.now_sql(1), 2)}
ORDER BY sent_at LIMIT $3"""
        self._prune = prune_unlocked(dialect, "freehold_outbox_sent", "position", old)

    async def send_again(
        self, db_tx: DatabaseTransaction, since: datetime, after: int, through: int, limit: int
    ) -> SentAgain:
        """Look, lock, move."""
        sql = sql_of(db_tx)
        rows = await sql.fetch(_WANTED, (after, through, self._dialect.time(since), limit))
        positions = [int(row[0]) for row in rows]
        moved = await self._move(sql, positions)
        return SentAgain(moved, positions[-1] if positions else through, len(positions) < limit)

    async def recall(self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS) -> int:
        """Look first, and then once more where there is something: under the lock of the leases."""
        given = leases_value(self._dialect, dict(sorted(leases.items())))
        parameters = (given, self._dialect.now(), limit, -recall_seconds)
        async with self._database.direct() as sql:
            found = await sql.fetch(self._waited_for, parameters)
        if not found:
            return 0
        async with self._database.begin() as db_tx:
            positions = [int(row[0]) for row in await db_tx.sql.fetch(self._waited_for, parameters)]
            return await self._move(db_tx.sql, positions)

    async def _move(self, sql: SqlConnection, positions: Sequence[int]) -> int:
        """Returns how many were still there."""
        if not positions:
            return 0
        locked = tuple(int(row[0]) for row in await sql.fetch(_LOCK, (tuple(positions),)))
        if locked:
            await sql.execute(self._stage, (locked, self._dialect.now()))
            await sql.execute(_TAKE, (locked,))
        return len(locked)

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Those that another instance deletes just now are passed over."""
        async with self._database.direct() as sql:
            return await sql.execute(self._prune, (self._dialect.now(), -older_than_seconds, limit))
