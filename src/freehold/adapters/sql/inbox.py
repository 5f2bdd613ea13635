"""Receipts and deferred messages on an SQL database. Base of the SQL engines: imports its siblings and the inbox port.

The engines write receipts in different ways (see each one's `inbox`); the rest is here. By the unique index a receipt
blocks others: a transaction that writes the same key waits until this one has ended.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from freehold.adapters.sql.engine.connection import Row, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.prune import prune_unlocked
from freehold.adapters.sql.store import SqlStore, storable
from freehold.database import DatabaseTransaction
from freehold.inbox.store import DeferredMessage, DeferredStats, InboxStore, IncomingMessage, ReceiveResult

__all__ = ["CLAIMED_COLUMNS", "DEFERRED_COLUMNS", "IS_HEAD", "SqlInboxStore"]

_REASON_CHARACTERS_MAX: Final = 500
DEFERRED_COLUMNS: Final = "position, consumer, topic, key, receipt_key, document, attempts, due_at, reason"
CLAIMED_COLUMNS: Final = f"{DEFERRED_COLUMNS}, waiting"
_LOOKS: Final = (2, 64)
"""How many rows a claim reads for each message it may return: at first, and when it found none among those."""
IS_HEAD: Final = (
    "NOT EXISTS (SELECT 1 FROM freehold_deferred AS e WHERE e.consumer = d.consumer AND e.topic = d.topic"
    " AND e.key = d.key AND e.position < d.position)"
)


class SqlInboxStore(SqlStore, InboxStore):
    """Stores receipts by consumer and key, deferred messages by position.

    A claim that reads a due message which is not the first of its key marks it as waiting, and later claims do not read
    it. `finish` of the first message removes the mark of the next. Without the mark each claim would read all messages
    behind one that keeps failing.
    """

    _claim: str
    """Parameters: time, visibility timeout in seconds, consumer, limit, rows to read. Returns `CLAIMED_COLUMNS`."""
    _next_due: str
    """Parameters: time, consumer."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._defer = f"""\
INSERT INTO freehold_deferred
    (deferred_at, due_at, consumer, topic, key, receipt_key, document, attempts, reason, lane, lane_position)
VALUES ({now}, {dialect.later_sql(now, 2)}, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""
        self._reschedule = f"""\
UPDATE freehold_deferred SET due_at = {dialect.later_sql(now, 2)}, reason = $3 WHERE position = $4 AND attempts = $5"""
        self._release = f"""\
UPDATE freehold_deferred SET due_at = {now}, attempts = attempts - 1 WHERE position = $2 AND attempts = $3"""
        self._stats = f"""\
SELECT coalesce(sum(k.pending), 0), count(*),
    (SELECT {dialect.seconds_sql(now, "d.deferred_at")} FROM freehold_deferred AS d ORDER BY d.position LIMIT 1)
FROM (SELECT count(*) AS pending FROM freehold_deferred GROUP BY consumer, topic, key) AS k"""
        # `consumer || ''` keeps the planner from an index on the consumer, and so from sorting: most services have one.
        self._deferred = {
            every: f"SELECT {DEFERRED_COLUMNS} FROM freehold_deferred {where} ORDER BY position LIMIT $1"
            for every, where in ((True, ""), (False, "WHERE consumer || '' = $2"))
        }
        self._oldest_receipt = f"""\
SELECT {dialect.seconds_sql(now, "received_at")} FROM freehold_inbox WHERE consumer = $2 ORDER BY received_at LIMIT 1"""
        self._wake = f"""\
UPDATE freehold_deferred AS d SET waiting = false WHERE d.consumer = $1 AND d.waiting <> false AND {IS_HEAD}"""
        old = f"""\
SELECT receipt_key FROM freehold_inbox WHERE consumer = $4 AND received_at < {dialect.later_sql(now, 2)}
ORDER BY received_at LIMIT $3"""
        self._prune = prune_unlocked(dialect, "freehold_inbox", "receipt_key", old, where="consumer = $4")

    @abstractmethod
    async def receive(
        self, db_tx: DatabaseTransaction, consumer: str, arrivals: Sequence[IncomingMessage]
    ) -> Sequence[ReceiveResult]:
        """As the port says."""

    @abstractmethod
    async def save_replies(self, db_tx: DatabaseTransaction, consumer: str, replies: Mapping[str, bytes]) -> None:
        """As the port says."""

    async def defer(
        self,
        db_tx: DatabaseTransaction,
        consumer: str,
        arrival: IncomingMessage,
        document: bytes,
        *,
        attempts: int,
        delay_seconds: float,
        reason: str,
    ) -> None:
        """Insert a deferred message; its position is higher than those of earlier calls."""
        message = (consumer, arrival.topic, arrival.key, arrival.receipt_key, document, attempts)
        rest = (storable(reason, _REASON_CHARACTERS_MAX), arrival.lane, arrival.lane_position)
        await sql_of(db_tx).execute(self._defer, (self._dialect.now(), delay_seconds, *message, *rest))

    async def claim_due(
        self, consumer: str, limit: int, visibility_timeout_seconds: float
    ) -> Sequence[DeferredMessage]:
        """Claim due messages that are the first of their key, and count an attempt of each.

        Nearly always one statement; each commits by itself. Where none of the rows it read was the first of its key,
        these are marked as waiting, and the next statement reads further ones.
        """
        look = _LOOKS[0] * limit
        while True:
            rows = await self._claimed(consumer, limit, visibility_timeout_seconds, look)
            claimed = [self._message(row[:-1]) for row in rows if not row[-1]]
            if claimed or len(rows) < look:
                return sorted(claimed, key=lambda message: message.position)
            look = _LOOKS[1] * limit

    async def _claimed(self, consumer: str, limit: int, visibility_timeout_seconds: float, look: int) -> Sequence[Row]:
        """Claim among so many rows that are due; returns those that were changed."""
        async with self._database.direct() as sql:
            parameters = (self._dialect.now(), visibility_timeout_seconds, consumer, limit, look)
            return await sql.fetch(self._claim, parameters)

    @abstractmethod
    async def finish(self, db_tx: DatabaseTransaction, message: DeferredMessage) -> bool:
        """As the port says; removes the waiting mark of the key's next message."""

    async def reschedule(self, message: DeferredMessage, delay_seconds: float, reason: str) -> bool:
        """Set the next due time of a claimed message; False where the claim is not the latest."""
        bounded = storable(reason, _REASON_CHARACTERS_MAX)
        parameters = (self._dialect.now(), delay_seconds, bounded, message.position, message.attempts)
        async with self._database.direct() as sql:
            return await sql.execute(self._reschedule, parameters) == 1

    async def release(self, message: DeferredMessage) -> bool:
        """Undo a claim and its attempt; False where the claim is not the latest."""
        parameters = (self._dialect.now(), message.position, message.attempts)
        async with self._database.direct() as sql:
            return await sql.execute(self._release, parameters) == 1

    async def next_due_seconds(self, consumer: str) -> float | None:
        """Seconds until the first message of a key is due; None where nothing is deferred."""
        async with self._database.direct() as sql:
            ((seconds,),) = await sql.fetch(self._next_due, (self._dialect.now(), consumer))
        return None if seconds is None else float(seconds)

    async def deferred(self, consumer: str | None, limit: int) -> Sequence[DeferredMessage]:
        """Deferred messages, oldest first."""
        parameters = (limit,) if consumer is None else (limit, consumer)
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._deferred[consumer is None], parameters)
        return [self._message(row) for row in rows]

    async def received_at(self, consumer: str, receipt_key: str) -> datetime | None:
        """The time when the receipt was written; None where there is none."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "SELECT received_at FROM freehold_inbox WHERE consumer = $1 AND receipt_key = $2",
                (consumer, receipt_key),
            )
        return self._dialect.read_time(rows[0][0]) if rows else None

    async def oldest_receipt_seconds(self, consumer: str) -> float:
        """The age of the oldest receipt; one look-up in the index that pruning uses."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._oldest_receipt, (self._dialect.now(), consumer))
        return max(0.0, float(rows[0][0])) if rows else 0.0

    async def stats(self) -> DeferredStats:
        """The number of deferred messages and of their keys, and the age of the oldest."""
        async with self._database.direct() as sql:
            ((pending, keys, oldest),) = await sql.fetch(self._stats, (self._dialect.now(),))
        return DeferredStats(pending=int(pending), keys=keys, oldest_seconds=max(0.0, float(oldest or 0.0)))

    async def prune(self, consumer: str, older_than_seconds: float, limit: int) -> int:
        """Delete old receipts of a consumer, oldest first; skips those that other instances are deleting."""
        async with self._database.direct() as sql:
            deleted = await sql.execute(self._prune, (self._dialect.now(), -older_than_seconds, limit, consumer))
            if deleted < limit:
                # Where an operator or a process of an earlier release deleted a message, the next one is still marked.
                await sql.execute(self._wake, (consumer,))
        return deleted

    def _message(self, row: Row) -> DeferredMessage:
        position, consumer, topic, key, receipt_key, document, attempts, due_at, reason = row
        due: datetime = self._dialect.read_time(due_at)
        return DeferredMessage(
            position=position,
            consumer=consumer,
            topic=topic,
            key=key,
            receipt_key=receipt_key,
            document=bytes(document),
            attempts=attempts,
            due_at=due,
            reason=reason,
        )
