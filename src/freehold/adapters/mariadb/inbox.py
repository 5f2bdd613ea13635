"""Receipts on MariaDB: read, judged, and written by an INSERT that is refused where somebody was first. Imports the SQL
base.

Reading locks nothing. Whoever writes a receipt of the same key first is waited for by the index; when that transaction
has committed, the INSERT is refused as a whole, and what is there is read again.

A claim locks the rows that it looks at, and asks in a second statement which are the first of their keys. `finish`
deletes the first of a key and then writes the next, for whose lock it waits: either the claim sees that the first has
gone, or the next is woken after the claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.upsert import inserted
from freehold.adapters.sql.inbox import DEFERRED_COLUMNS, IS_HEAD, SqlInboxStore
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict
from freehold.inbox.receipts import Receipt, decide, receipt_keys, unblocked_indexes
from freehold.inbox.store import DeferredMessage, IncomingMessage, ReceiveResult

__all__ = ["MariaDbInboxStore"]

_ATTEMPTS_MAX: Final = 5
_DELETE: Final = "DELETE FROM freehold_deferred WHERE position = $1 AND attempts = $2"
_WAKE: Final = """\
UPDATE freehold_deferred SET waiting = false WHERE position = (
    SELECT n.position FROM (
        SELECT min(d.position) AS position FROM freehold_deferred AS d
        WHERE d.consumer = $1 AND d.topic = $2 AND d.key = $3 AND d.position > $4
    ) AS n
)"""
_HEADS: Final = f"SELECT d.position FROM freehold_deferred AS d WHERE d.position IN $1 AND {IS_HEAD}"
_WAIT: Final = "UPDATE freehold_deferred SET waiting = true WHERE position IN $1"


class MariaDbInboxStore(SqlInboxStore):
    """Receipts in two statements: one reads, one writes."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._blocking = f"""\
SELECT a.topic, a.key, (
    SELECT min(d.position) FROM freehold_deferred AS d WHERE d.consumer = $1 AND d.topic = a.topic AND d.key = a.key
), NULL, NULL, NULL
FROM {dialect.relation_sql(2, "topic text, key text")} AS a
UNION ALL
SELECT NULL, NULL, NULL, receipt_key, cancelled, answer
FROM freehold_inbox WHERE consumer = $1 AND receipt_key {dialect.in_sql(3, "text")}"""
        self._stored = f"""\
SELECT receipt_key, cancelled, answer FROM freehold_inbox
WHERE consumer = $1 AND receipt_key {dialect.in_sql(2, "text")} {dialect.lock_shared}"""
        self._write = f"""\
INSERT INTO freehold_inbox (consumer, receipt_key, cancelled, received_at)
SELECT $1, w.receipt_key, w.cancelled, {dialect.now_sql(3)}
FROM {dialect.relation_sql(2, "receipt_key text, cancelled integer")} AS w"""
        self._look = f"""\
SELECT {DEFERRED_COLUMNS} FROM freehold_deferred
WHERE consumer = $2 AND waiting = false AND due_at <= {now}
ORDER BY due_at, position LIMIT $3 {dialect.lock_free_rows}"""
        self._take = f"""\
UPDATE freehold_deferred SET attempts = attempts + 1, due_at = {dialect.later_sql(now, 2)} WHERE position IN $3"""
        self._next_due = f"""\
SELECT {dialect.seconds_sql("min(d.due_at)", now)} FROM freehold_deferred AS d
WHERE d.consumer = $2 AND d.waiting = false AND {IS_HEAD}"""
        self._wake = f"""\
UPDATE (SELECT d.position FROM freehold_deferred AS d WHERE d.consumer = $1 AND d.waiting AND {IS_HEAD}) AS n
STRAIGHT_JOIN freehold_deferred AS w USING (position) SET w.waiting = false"""

    async def receive(
        self, db_tx: DatabaseTransaction, consumer: str, arrivals: Sequence[IncomingMessage]
    ) -> Sequence[ReceiveResult]:
        """Write the receipts that are missing; where one was written meanwhile, look again."""
        sql = sql_of(db_tx)
        keys: list[Mapping[str, str | int | None]] = [
            {"topic": topic, "key": key} for topic, key in {(arrival.topic, arrival.key) for arrival in arrivals}
        ]
        wanted = self._dialect.list_value(sorted(set(receipt_keys(arrivals))))
        rows = await sql.fetch(self._blocking, (consumer, self._dialect.relation_value(keys), wanted))
        first = {(row[0], row[1]): int(row[2]) for row in rows if row[2] is not None}
        places = unblocked_indexes(arrivals, lambda topic, key: first.get((topic, key)))
        stored = {row[3]: Receipt(cancelled=bool(row[4]), reply=row[5]) for row in rows if row[3] is not None}
        for _ in range(_ATTEMPTS_MAX):
            decision = decide(arrivals, places, stored)
            if await self._written(sql, consumer, decision.written):
                return decision.receipts
            # Somebody else's receipts have been committed since, which a snapshot of before does not show.
            found = await sql.fetch(self._stored, (consumer, wanted))
            stored = {key: Receipt(cancelled=bool(cancelled), reply=reply) for key, cancelled, reply in found}
        raise ConcurrencyConflict("receipts come and go while they are read", hint="receive the batch again")

    async def _written(self, sql: SqlConnection, consumer: str, receipts: Mapping[str, bool]) -> bool:
        """In order of key, so that two who write the same ones cannot deadlock. False: one of them is there."""
        if not receipts:
            return True
        given = self._dialect.relation_value(
            [{"receipt_key": key, "cancelled": int(receipts[key])} for key in sorted(receipts)]
        )
        return await inserted(sql, self._dialect, self._write, (consumer, given, self._dialect.now()))

    async def _claimed(self, consumer: str, limit: int, visibility_timeout_seconds: float, look: int) -> Sequence[Row]:
        """Lock, look which are the first of their keys, and change them: a transaction of its own."""
        now = self._dialect.now()
        async with self._database.begin() as db_tx:
            rows = await db_tx.sql.fetch(self._look, (now, consumer, look))
            if not rows:
                return ()
            found = await db_tx.sql.fetch(_HEADS, (tuple(row[0] for row in rows),))
            heads = {row[0] for row in found}
            claimed = [row[0] for row in rows if row[0] in heads][:limit]
            waiting = [row[0] for row in rows if row[0] not in heads]
            if waiting:
                await db_tx.sql.execute(_WAIT, (tuple(waiting),))
            if claimed:
                await db_tx.sql.execute(self._take, (now, visibility_timeout_seconds, tuple(claimed)))
            return await db_tx.sql.fetch(
                f"SELECT {DEFERRED_COLUMNS}, waiting FROM freehold_deferred WHERE position IN $1",
                ((*claimed, *waiting),),
            )

    async def finish(self, db_tx: DatabaseTransaction, message: DeferredMessage) -> bool:
        """Delete it, then wake the next, in statements with snapshots of their own."""
        sql = sql_of(db_tx)
        if not await sql.execute(_DELETE, (message.position, message.attempts)):
            return False
        await sql.execute(_WAKE, (message.consumer, message.topic, message.key, message.position))
        return True

    async def save_replies(self, db_tx: DatabaseTransaction, consumer: str, replies: Mapping[str, bytes]) -> None:
        """Save replies with their receipts, all in one statement."""
        if not replies:
            return
        parameters: list[object] = [consumer, tuple(replies)]
        cases = ""
        for key, reply in replies.items():
            parameters += [key, reply]
            cases += f" WHEN ${len(parameters) - 1} THEN ${len(parameters)}"
        await sql_of(db_tx).execute(
            f"UPDATE freehold_inbox SET answer = CASE receipt_key{cases} END WHERE consumer = $1 AND receipt_key IN $2",
            parameters,
        )
