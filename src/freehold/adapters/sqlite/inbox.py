"""The inbox on SQLite. Adapter: imports the base of the SQL adapters.

A transaction holds the write lock from its beginning, so nothing changes between its reads and its writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.inbox import CLAIMED_COLUMNS, IS_HEAD, SqlInboxStore
from freehold.database import DatabaseTransaction
from freehold.inbox.receipts import Receipt, decide, receipt_keys, unblocked_indexes
from freehold.inbox.store import DeferredMessage, IncomingMessage, ReceiveResult

__all__ = ["SqliteInboxStore"]

_DELETE: Final = "DELETE FROM freehold_deferred WHERE position = $1 AND attempts = $2"
_WAKE: Final = """\
UPDATE freehold_deferred SET waiting = 0 WHERE position = (
    SELECT min(position) FROM freehold_deferred WHERE consumer = $1 AND topic = $2 AND key = $3 AND position > $4
)"""


class SqliteInboxStore(SqlInboxStore):
    """Receives messages by two statements: one reads receipts, one writes them."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        # A subquery for each key: for a join the planner would read all deferred messages first.
        self._read = f"""\
SELECT a.topic, a.key, (
    SELECT min(d.position) FROM freehold_deferred AS d WHERE d.consumer = $1 AND d.topic = a.topic AND d.key = a.key
), NULL, NULL, NULL
FROM {dialect.relation_sql(2, "topic text, key text")} AS a
UNION ALL
SELECT NULL, NULL, NULL, receipt_key, cancelled, answer
FROM freehold_inbox WHERE consumer = $1 AND receipt_key {dialect.in_sql(3, "text")}"""
        now = dialect.now_sql(1)
        self._claim = f"""\
WITH due AS MATERIALIZED (
    SELECT d.position, d.due_at, {IS_HEAD} AS head FROM freehold_deferred AS d
    WHERE d.consumer = $3 AND d.waiting = 0 AND d.due_at <= {now} ORDER BY d.due_at, d.position LIMIT $5
), claimed AS MATERIALIZED (
    SELECT position FROM due WHERE head ORDER BY due_at, position LIMIT $4
)
UPDATE freehold_deferred SET attempts = attempts + (position IN (SELECT position FROM claimed)),
    due_at = CASE WHEN position IN (SELECT position FROM claimed) THEN {dialect.later_sql(now, 2)} ELSE due_at END,
    waiting = position NOT IN (SELECT position FROM claimed)
WHERE position IN (SELECT position FROM due WHERE NOT head UNION ALL SELECT position FROM claimed)
RETURNING {CLAIMED_COLUMNS}"""
        self._next_due = f"""\
SELECT {dialect.seconds_sql("min(d.due_at)", now)} FROM freehold_deferred AS d
WHERE d.consumer = $2 AND d.waiting = 0 AND {IS_HEAD}"""
        self._write = f"""\
INSERT INTO freehold_inbox (consumer, receipt_key, cancelled, received_at)
SELECT $1, w.receipt_key, w.cancelled, {dialect.now_sql(3)}
FROM {dialect.relation_sql(2, "receipt_key text, cancelled integer")} AS w"""

    async def receive(
        self, db_tx: DatabaseTransaction, consumer: str, arrivals: Sequence[IncomingMessage]
    ) -> Sequence[ReceiveResult]:
        """Decide about each message, and write the missing receipts."""
        sql = sql_of(db_tx)
        keys: list[Mapping[str, str | int | None]] = [
            {"topic": topic, "key": key} for topic, key in {(arrival.topic, arrival.key) for arrival in arrivals}
        ]
        parameters = (consumer, self._dialect.relation_value(keys), self._dialect.list_value(receipt_keys(arrivals)))
        rows = await sql.fetch(self._read, parameters)
        first = {(row[0], row[1]): int(row[2]) for row in rows if row[2] is not None}
        stored = {row[3]: Receipt(cancelled=bool(row[4]), reply=row[5]) for row in rows if row[3] is not None}
        verdict = decide(arrivals, unblocked_indexes(arrivals, lambda topic, key: first.get((topic, key))), stored)
        if verdict.written:
            written: list[Mapping[str, str | int | None]] = [
                {"receipt_key": key, "cancelled": int(cancelled)} for key, cancelled in verdict.written.items()
            ]
            await sql.execute(self._write, (consumer, self._dialect.relation_value(written), self._dialect.now()))
        return verdict.receipts

    async def finish(self, db_tx: DatabaseTransaction, message: DeferredMessage) -> bool:
        """Delete the message, then remove the waiting mark of the key's next one. No other transaction writes between
        these statements.
        """
        sql = sql_of(db_tx)
        if not await sql.execute(_DELETE, (message.position, message.attempts)):
            return False
        await sql.execute(_WAKE, (message.consumer, message.topic, message.key, message.position))
        return True

    async def save_replies(self, db_tx: DatabaseTransaction, consumer: str, replies: Mapping[str, bytes]) -> None:
        """Store the replies in their receipts."""
        await sql_of(db_tx).execute_many(
            "UPDATE freehold_inbox SET answer = $3 WHERE consumer = $1 AND receipt_key = $2",
            [(consumer, key, reply) for key, reply in replies.items()],
        )
