"""Receipts and deferred messages in memory. Adapter: imports the inbox port and the memory database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table, memory_transaction
from freehold.database import DatabaseTransaction
from freehold.errors import NotFound
from freehold.failures import plain_text
from freehold.inbox.receipts import Receipt, decide, receipt_keys, unblocked_indexes
from freehold.inbox.store import DeferredMessage, DeferredStats, InboxStore, IncomingMessage, ReceiveResult

__all__ = ["DEFERRED", "MemoryInboxStore"]


@dataclass(frozen=True, slots=True)
class _ReceiptRow:
    stored: Receipt
    received_at: datetime


@dataclass(frozen=True, slots=True)
class _DeferredRow:
    message: DeferredMessage
    deferred_at: datetime
    lane: str | None = None
    lane_position: int | None = None


_RECEIPTS: Final[Table[tuple[str, str], _ReceiptRow]] = Table("inbox")
DEFERRED: Final[Table[int, _DeferredRow]] = Table("deferred")


class MemoryInboxStore(InboxStore):
    """Keeps receipts by consumer and key, deferred messages by position."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def receive(
        self, db_tx: DatabaseTransaction, consumer: str, arrivals: Sequence[IncomingMessage]
    ) -> Sequence[ReceiveResult]:
        """Decide about each message, and write the missing receipts."""
        receipts = memory_transaction(db_tx).rows(_RECEIPTS)
        heads = _heads(row.message for row in memory_transaction(db_tx).rows(DEFERRED).values())
        positions = {place: head.position for place, head in heads.items()}
        found = {key: receipts.get((consumer, key)) for key in receipt_keys(arrivals)}
        stored = {key: row.stored for key, row in found.items() if row is not None}
        places = unblocked_indexes(arrivals, lambda topic, key: positions.get((consumer, topic, key)))
        verdict = decide(arrivals, places, stored)
        now = self._database.now()
        for key, cancelled in verdict.written.items():
            receipts.put((consumer, key), _ReceiptRow(Receipt(cancelled=cancelled), received_at=now))
        return verdict.receipts

    async def save_replies(self, db_tx: DatabaseTransaction, consumer: str, replies: Mapping[str, bytes]) -> None:
        """Store the replies in their receipts. Raises `NotFound` where a receipt is missing."""
        receipts = memory_transaction(db_tx).rows(_RECEIPTS)
        for key, reply in replies.items():
            row = receipts.get((consumer, key))
            if row is None:
                raise NotFound(f"'{consumer}' has no receipt for this reply", hint="receive the message first")
            receipts.put((consumer, key), replace(row, stored=replace(row.stored, reply=reply)))

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
        """Add a deferred message."""
        position = memory_transaction(db_tx).draw()
        message = DeferredMessage(
            position=position,
            consumer=consumer,
            topic=arrival.topic,
            key=arrival.key,
            receipt_key=arrival.receipt_key,
            document=document,
            attempts=attempts,
            due_at=self._database.later(delay_seconds),
            reason=plain_text(reason),
        )
        row = _DeferredRow(message, self._database.now(), arrival.lane, arrival.lane_position)
        memory_transaction(db_tx).rows(DEFERRED).put(position, row)

    async def claim_due(
        self, consumer: str, limit: int, visibility_timeout_seconds: float
    ) -> Sequence[DeferredMessage]:
        """Claim due messages that are the first of their key, and count an attempt of each."""
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(DEFERRED)
            heads = _heads(row.message for row in rows.values() if row.message.consumer == consumer)
            due = [head for head in heads.values() if head.due_at <= self._database.now()]
            due.sort(key=lambda message: (message.due_at, message.position))
            until = self._database.later(visibility_timeout_seconds)
            claimed = [replace(message, attempts=message.attempts + 1, due_at=until) for message in due[:limit]]
            for message in claimed:
                row = rows.get(message.position)
                if row is not None:
                    rows.put(message.position, replace(row, message=message))
            return sorted(claimed, key=lambda message: message.position)

    async def finish(self, db_tx: DatabaseTransaction, message: DeferredMessage) -> bool:
        """Delete a claimed message."""
        rows = memory_transaction(db_tx).rows(DEFERRED)
        return _is_current(rows.get(message.position), message) and rows.remove(message.position)

    async def reschedule(self, message: DeferredMessage, delay_seconds: float, reason: str) -> bool:
        """Set the next due time of a claimed message; False where the claim is not the latest."""
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(DEFERRED)
            row = rows.get(message.position)
            if row is None or not _is_current(row, message):
                return False
            later = replace(row.message, due_at=self._database.later(delay_seconds), reason=plain_text(reason))
            rows.put(message.position, replace(row, message=later))
            return True

    async def release(self, message: DeferredMessage) -> bool:
        """Undo a claim and its attempt; False where the claim is not the latest."""
        async with self._database.begin() as db_tx:
            rows = db_tx.rows(DEFERRED)
            row = rows.get(message.position)
            if row is None or not _is_current(row, message):
                return False
            before = replace(row.message, due_at=self._database.later(0.0), attempts=row.message.attempts - 1)
            rows.put(message.position, replace(row, message=before))
            return True

    async def next_due_seconds(self, consumer: str) -> float | None:
        """Seconds until the first message of a key is due; None where nothing is deferred."""
        rows = (await self._database.read(DEFERRED)).values()
        heads = _heads(row.message for row in rows if row.message.consumer == consumer)
        soonest = min((head.due_at for head in heads.values()), default=None)
        return None if soonest is None else (soonest - self._database.now()).total_seconds()

    async def deferred(self, consumer: str | None, limit: int) -> Sequence[DeferredMessage]:
        """Deferred messages, oldest first."""
        messages = [row.message for row in (await self._database.read(DEFERRED)).values()]
        messages.sort(key=lambda message: message.position)
        return [message for message in messages if consumer is None or message.consumer == consumer][:limit]

    async def received_at(self, consumer: str, receipt_key: str) -> datetime | None:
        """The time when the receipt was written; None where there is none."""
        row = (await self._database.read(_RECEIPTS)).get((consumer, receipt_key))
        return row.received_at if row is not None else None

    async def oldest_receipt_seconds(self, consumer: str) -> float:
        """The age of a consumer's oldest receipt."""
        rows = (await self._database.read(_RECEIPTS)).items()
        oldest = min((row.received_at for (owner, _), row in rows if owner == consumer), default=None)
        return 0.0 if oldest is None else max(0.0, (self._database.now() - oldest).total_seconds())

    async def stats(self) -> DeferredStats:
        """The number of deferred messages and of their keys, and the age of the oldest."""
        rows = (await self._database.read(DEFERRED)).values()
        ages = [(self._database.now() - row.deferred_at).total_seconds() for row in rows]
        return DeferredStats(
            pending=len(rows), keys=len(_heads(row.message for row in rows)), oldest_seconds=max(ages, default=0.0)
        )

    async def prune(self, consumer: str, older_than_seconds: float, limit: int) -> int:
        """Delete old receipts of a consumer, oldest first."""
        before = self._database.later(-older_than_seconds)
        async with self._database.begin() as db_tx:
            receipts = db_tx.rows(_RECEIPTS)
            old = sorted(
                (row.received_at, key)
                for key, row in receipts.items()
                if key[0] == consumer and row.received_at < before
            )
            return sum(receipts.remove(key) for _, key in old[:limit])


def _heads(messages: Iterable[DeferredMessage]) -> dict[tuple[str, str, str], DeferredMessage]:
    """The earliest message of each consumer, topic and key."""
    heads: dict[tuple[str, str, str], DeferredMessage] = {}
    for message in sorted(messages, key=lambda message: message.position):
        heads.setdefault((message.consumer, message.topic, message.key), message)
    return heads


def _is_current(row: _DeferredRow | None, message: DeferredMessage) -> bool:
    return row is not None and row.message.attempts == message.attempts
