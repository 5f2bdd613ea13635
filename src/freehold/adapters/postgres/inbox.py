"""The inbox on PostgreSQL: receives a batch in one or two round trips. Adapter: imports the base of the SQL adapters.

1. One statement finds the messages that no deferred message blocks, and writes their receipts in order of key. Two
   batches with the same receipts may wait for each other, but cannot deadlock. Where another transaction is handling
   the same key, the statement waits for its end.
2. Only where receipts existed already, a second statement reads them. In READ COMMITTED it sees what was committed
   while the first one waited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.postgres.commit_call import add_call
from freehold.adapters.sql.engine.connection import SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.inbox import CLAIMED_COLUMNS, SqlInboxStore
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict
from freehold.inbox.receipts import Receipt, decide, receipt_keys
from freehold.inbox.store import DeferredMessage, IncomingMessage, ReceiveResult

__all__ = ["PostgresInboxStore"]

_ARRIVAL: Final = "place integer, receipt_key text, topic text, key text, compensates text, deferred_position bigint"
_ANSWER: Final = "SELECT freehold_inbox_answer($1::text, $2::text[], $3::bytea[])"
_ANSWER_TYPES: Final = ("text", "text[]", "bytea[]")
_FOLDED_BYTES_MAX: Final = 16_384
"""More bytes cost more as digits in a text than a round trip saves."""
_FINISH: Final = "SELECT freehold_deferred_finish($1::bigint, $2::integer)"
_STORED: Final = """\
SELECT i.receipt_key, i.cancelled, i.answer FROM unnest($2::text[]) AS w (receipt_key) CROSS JOIN LATERAL (
    SELECT r.receipt_key, r.cancelled, r.answer FROM freehold_inbox AS r
    WHERE r.consumer = $1 AND r.receipt_key = w.receipt_key OFFSET 0
) AS i"""
"""A look-up for each receipt. For a list of keys and with old statistics the planner would read all receipts of the
consumer and filter them.
"""


class PostgresInboxStore(SqlInboxStore):
    """Receives messages with the fewest round trips."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._claim = (
            f"SELECT {CLAIMED_COLUMNS} FROM freehold_deferred_claim($3, {now}, $2::float8, $4::integer, $5::integer)"
        )
        self._next_due = f"SELECT {dialect.seconds_sql('freehold_deferred_next_due($2)', now)}"
        self._write = f"""\
WITH arrival AS MATERIALIZED (
    SELECT * FROM {dialect.relation_sql(2, _ARRIVAL)} AS given
), blocked AS MATERIALIZED (
    SELECT topic, key, place FROM freehold_deferred_blocking($1, $2::jsonb)
), open AS MATERIALIZED (
    SELECT a.place, a.receipt_key, a.compensates FROM arrival AS a LEFT JOIN blocked AS b USING (topic, key)
    WHERE b.place IS NULL OR a.place < b.place
), wanted AS (
    SELECT receipt_key, false AS cancelled, 2 * place AS rank FROM open
    UNION ALL SELECT compensates, true, 2 * place + 1 FROM open WHERE compensates IS NOT NULL
), written AS (
    INSERT INTO freehold_inbox (consumer, receipt_key, cancelled, received_at)
    SELECT DISTINCT ON (receipt_key COLLATE "C") $1, receipt_key, cancelled, {dialect.now_sql(3)} FROM wanted
    ORDER BY receipt_key COLLATE "C", rank
    ON CONFLICT DO NOTHING RETURNING receipt_key
)
SELECT place, NULL FROM open UNION ALL SELECT NULL, receipt_key FROM written"""

    async def receive(
        self, db_tx: DatabaseTransaction, consumer: str, arrivals: Sequence[IncomingMessage]
    ) -> Sequence[ReceiveResult]:
        """Write the receipts, and decide about each message; a second round trip only where receipts existed before."""
        sql = sql_of(db_tx)
        given = self._dialect.relation_value([_row(place, arrival) for place, arrival in enumerate(arrivals)])
        rows = await sql.fetch(self._write, (consumer, given, self._dialect.now()))
        places = frozenset(place for place, _ in rows if place is not None)
        written = {key for _, key in rows if key is not None}
        known = set(receipt_keys([arrivals[place] for place in places])) - written
        stored = {
            key: Receipt(cancelled=cancelled, reply=None if reply is None else bytes(reply))
            for key, cancelled, reply in (await sql.fetch(_STORED, (consumer, sorted(known))) if known else ())
        }
        if known - stored.keys():
            raise ConcurrencyConflict("receipts were pruned while they were read", hint="receive the batch again")
        return decide(arrivals, places, stored).receipts

    async def finish(self, db_tx: DatabaseTransaction, message: DeferredMessage) -> bool:
        """Delete the message and remove the waiting mark of the key's next one, in one call of a function."""
        rows = await sql_of(db_tx).fetch(_FINISH, (message.position, message.attempts))
        return bool(rows[0][0])

    async def save_replies(self, db_tx: DatabaseTransaction, consumer: str, replies: Mapping[str, bytes]) -> None:
        """Store the replies in their receipts, in one statement."""
        await sql_of(db_tx).fetch(_ANSWER, (consumer, list(replies), list(replies.values())))

    async def save_replies_last(self, db_tx: DatabaseTransaction, consumer: str, replies: Mapping[str, bytes]) -> None:
        """Store short replies with the COMMIT where Freehold sends it; else at once."""
        keys, values = list(replies), list(replies.values())
        short = sum(map(len, values)) <= _FOLDED_BYTES_MAX
        given = (consumer, keys, values)
        if short and add_call(db_tx, self._dialect, "freehold_inbox_answer", given, _ANSWER_TYPES, texts=keys):
            return
        await self.save_replies(db_tx, consumer, replies)


def _row(place: int, arrival: IncomingMessage) -> Mapping[str, str | int | None]:
    return {
        "place": place,
        "receipt_key": arrival.receipt_key,
        "topic": arrival.topic,
        "key": arrival.key,
        "compensates": arrival.compensates,
        "deferred_position": arrival.deferred_position,
    }
