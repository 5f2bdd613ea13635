"""The outbox on MariaDB: staged by one compound statement that serialises the transactions of a key. Imports the SQL
base.

Two transactions that stage for one key could draw positions in one order and commit in the other. So the statement
first locks a row of `freehold_lock` for each key, in order of number, and draws positions after it has them all; the
locks go with the commit, after it has become visible. Keys that share a number wait for each other without need.

Before it draws it takes a marker, a row of `freehold_outbox_marker` with the highest position that was committed by
then: "somebody draws positions greater than this". The number that AUTO_INCREMENT stands at would not do: a crash may
hand a position out a second time. The marker is completed with the last position that was drawn, and committed with
the rows, so the highest committed position is known when the rows have left.

The relay reads, each with a snapshot of its own: 1. the highest committed position; 2. all markers, READ UNCOMMITTED;
3. the least floor of those that are not among the committed ones: their transactions are open; 4. the rows. A position
at or below 1 and 3 was drawn before 1, by a transaction that had ended before 3: its rows are among those of 4, or were
removed, or rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.mariadb.dialect import LOCKS
from freehold.adapters.sql.engine.connection import SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.statement_outbox import StatementOutboxStore
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.outbox.store import EVER_SECONDS, OutboxBatch

__all__ = ["STAGED_SQL", "MariaDbOutboxStore", "held_sql", "taken_sql"]

STAGED_SQL: Final = "EXISTS (SELECT 1 FROM freehold_outbox_marker)"
"""A condition: whether a position was ever drawn. Of the committed markers the highest stays."""
_LOCK_SPACE: Final = "freehold.outbox/"
_MARKERS_KEPT_MAX: Final = 200
_LAST: Final = "(SELECT coalesce(max(m.last), 0) FROM freehold_outbox_marker AS m)"
_SWEEP: Final = """\
DELETE m FROM (
    SELECT id FROM freehold_outbox_marker ORDER BY id LIMIT 5000 FOR UPDATE SKIP LOCKED
) AS committed STRAIGHT_JOIN freehold_outbox_marker AS m USING (id)
WHERE m.last < $1"""
_RAISE_PENDING: Final = """\
INSERT INTO freehold_outbox_watermark (partition, position) VALUES ($1, $2)
ON DUPLICATE KEY UPDATE position = greatest(freehold_outbox_watermark.position, VALUES(position))"""
_BIGGEST: Final = 2**63 - 1


def held_sql(dialect: Dialect) -> str:
    """A query: the partitions of the leases in `$1` whose tokens are valid. Their rows are locked, so that nobody takes
    a lease over until what is done under it has ended.
    """
    return (
        f"SELECT g.partition FROM {dialect.relation_sql(1, 'partition integer, token bigint, name text')} AS g"
        " STRAIGHT_JOIN freehold_lease AS l ON l.name = g.name AND l.token = g.token LOCK IN SHARE MODE"
    )


def taken_sql(row: str, written: str, since: str) -> str:
    """A query: what an open loss has taken before a row of the outbox, of its key."""
    return (
        f"SELECT s.position FROM freehold_outbox_sent AS s WHERE s.key = {row}.key AND s.losses < {written}"
        f" AND s.position < {row}.position AND s.sent_at >= {since}"
    )


class MariaDbOutboxStore(StatementOutboxStore):
    """Rows by position."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._raise_pending_sql = _RAISE_PENDING
        held = f"SELECT h.partition FROM ({held_sql(dialect)}) AS h"
        self._fetch = f"""
BEGIN NOT ATOMIC
DECLARE high BIGINT; DECLARE low BIGINT; DECLARE markers LONGTEXT;
SELECT {_LAST} INTO high;
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;
SELECT JSON_ARRAYAGG(JSON_OBJECT('id', m.id, 'floor', m.floor)) INTO markers FROM freehold_outbox_marker AS m;
SELECT min(g.floor) INTO low
FROM JSON_TABLE(markers, '$[*]' COLUMNS (id BIGINT PATH '$.id', floor BIGINT PATH '$.floor')) AS g
WHERE g.id NOT IN (SELECT m.id FROM freehold_outbox_marker AS m);
{self._rows_sql(held.replace(" LOCK IN SHARE MODE", ""))};
END"""
        self._remove_sql = f"""
DELETE FROM freehold_outbox WHERE position {dialect.in_sql(2, "bigint")} AND partition IN ({held})"""
        self._confirm_sql = f"""
INSERT INTO freehold_outbox_watermark (partition, position)
SELECT n.partition, n.position FROM {dialect.relation_sql(2, "partition integer, position bigint")} AS n
WHERE n.partition IN ({held})
ON DUPLICATE KEY UPDATE position = CASE VALUES(position)
    WHEN 0 THEN 0 ELSE greatest(freehold_outbox_watermark.position, VALUES(position)) END"""
        self._keep_sql = f"""
REPLACE INTO freehold_outbox_sent (position, partition, id, topic, key, document, sent_at, losses)
SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, coalesce(o.sent_at, {dialect.now_sql(3)}), $4
FROM freehold_outbox AS o
WHERE o.position {dialect.in_sql(2, "bigint")} AND o.partition IN ({held})"""
        self._reschedule = f"""
UPDATE freehold_outbox SET blocked_until = {dialect.later_sql(dialect.now_sql(2), 3)}, attempts = attempts + 1,
    reason = $4
WHERE position = $5 AND partition IN ({held})"""

    def _rows_sql(self, held: str) -> str:
        """Rows and what is said of their partitions, in one snapshot; `high` and `low` as the module says."""
        now = self._dialect.now_sql(2)
        return f"""\
WITH held AS ({held}), blocked AS (
    SELECT DISTINCT b.partition, b.key FROM freehold_outbox AS b WHERE b.blocked_until > {now}
), loss AS (
    SELECT coalesce(sum(g.losses), 0) AS written, coalesce(max(g.lost_at IS NOT NULL), 0) AS lost
    FROM freehold_outbox_log AS g
)
SELECT o.position, o.partition, o.id, o.topic, o.key, o.document, o.attempts, NULL, NULL, NULL, NULL FROM (
    SELECT q.* FROM freehold_outbox AS q FORCE INDEX (PRIMARY)
    WHERE q.partition IN (SELECT h.partition FROM held AS h) AND q.key NOT IN (SELECT b.key FROM blocked AS b)
    ORDER BY q.position LIMIT $3
) AS o CROSS JOIN loss AS l
WHERE NOT (l.lost AND EXISTS ({taken_sql("o", "l.written", self._dialect.later_sql(now, 4))}))
UNION ALL
SELECT least(
    high,
    coalesce(low, {_BIGGEST}),
    CASE WHEN EXISTS (SELECT 1 FROM blocked AS b WHERE b.partition = h.partition) THEN coalesce((
        SELECT o.position - 1 FROM freehold_outbox AS o
        WHERE o.partition = h.partition AND o.key IN (SELECT b.key FROM blocked AS b)
        ORDER BY o.position LIMIT 1
    ), 0) ELSE {_BIGGEST} END,
    CASE WHEN l.lost THEN 0 ELSE {_BIGGEST} END
), h.partition, NULL, NULL, NULL, NULL, NULL, coalesce(w.position, 0), l.written, l.lost, JSON_LENGTH(markers)
FROM held AS h CROSS JOIN loss AS l LEFT JOIN freehold_outbox_watermark AS w ON w.partition = h.partition"""

    def _oldest(self, number: int) -> str:
        return f"(SELECT staged_at FROM freehold_outbox WHERE ${number} > 0 ORDER BY position LIMIT 1)"

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        """Lock the keys, take a marker and insert, in one round trip."""
        if not messages:
            return ()
        now = self._dialect.now_sql(1)
        numbers = {self._dialect.lock_number(_LOCK_SPACE + message.key) % LOCKS for message in messages}
        parameters: list[object] = [self._dialect.now(), tuple(sorted(numbers)), len(messages)]
        rows = []
        for each in messages:
            places = ", ".join(f"${len(parameters) + number}" for number in range(1, 6))
            rows.append(f"({places}, {now})")
            message_id = self._dialect.uuid(each.id)
            parameters += [self._partition(each.key), message_id, each.topic, each.key, each.document]
        statement = f"""\
BEGIN NOT ATOMIC
DECLARE locked BIGINT; DECLARE low BIGINT; DECLARE marker BIGINT;
SELECT count(*) INTO locked FROM freehold_lock WHERE number IN $2 FOR UPDATE;
SELECT {_LAST} INTO low;
INSERT INTO freehold_outbox_marker (floor) VALUES (low);
SET marker = LAST_INSERT_ID();
INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at) VALUES
{", ".join(rows)} RETURNING position;
UPDATE freehold_outbox_marker SET last = LAST_INSERT_ID() + ($3 - 1) * @@auto_increment_increment WHERE id = marker;
END"""
        return sorted(row[0] for row in await sql_of(db_tx).fetch(statement, parameters))

    async def fetch(
        self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS
    ) -> OutboxBatch:
        """The oldest rows of the partitions leased; now and then the markers of what was committed are deleted."""
        async with self._database.direct() as sql:
            parameters = (self._leases(leases), self._dialect.now(), limit, -recall_seconds)
            rows = await sql.fetch(self._fetch, parameters)
            if any((row[10] or 0) > _MARKERS_KEPT_MAX for row in rows if row[2] is None):
                ((last,),) = await sql.fetch(f"SELECT {_LAST}")
                await sql.execute(_SWEEP, (last,))
        return self._fetched(rows, limit)

    def _leases(self, leases: Mapping[int, int]) -> str:
        return super()._leases(dict(sorted(leases.items())))
