"""The inbox port: receipts of handled messages, and deferred messages. Pattern: imports the foundation and the ports.

All attempts of one request share a receipt key (`Envelope.receipt_key`). A compensation names the key of its action
(`Envelope.compensates`), because it may arrive first:

    t1  a saga requests an action, gets no reply, and sends the compensation
    t2  the compensation arrives: there is nothing to compensate, and it writes the receipt of the action
    t3  the action arrives: its receipt exists, so it is cancelled and never carried out

If the action is being handled at t2, the compensation waits for the end of that transaction: after the commit there is
something to compensate, after a rollback it continues as at t2.

A message that failed is deferred: it is kept here, and the broker's position advances. An attempt may be slower than
expected:

    t1  A claims a deferred message, which counts attempt 2, and its handler takes longer than the visibility timeout
    t2  B claims the message, which counts attempt 3
    t3  A finishes the message of attempt 2: the claim is stale, and its transaction is rolled back
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from freehold.context import Signal
from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = [
    "DEFERRED",
    "INBOX",
    "DeferredMessage",
    "DeferredStats",
    "InboxStore",
    "IncomingMessage",
    "ReceiveResult",
    "ReceiveStatus",
]


class ReceiveStatus(StrEnum):
    """The result of the duplicate check for an arrival."""

    NEW = "new"
    """Not handled yet. Its receipt is now written in this transaction: handle it."""
    DUPLICATE = "duplicate"
    """Handled before; `ReceiveResult.reply` is the stored reply."""
    CANCELLED = "cancelled"
    """Its compensation came first: do not handle it, and reply that it is cancelled."""
    NO_EFFECT = "no-effect"
    """A compensation whose action was refused, or never handled and is cancelled for good: there is nothing to do."""
    BLOCKED = "blocked"
    """An earlier message of its key is deferred: defer it behind that one. No receipt was written."""


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A received message, as the duplicate check needs it. `deferred_position` is set for a deferred message.

    `lane` and `lane_position` are its position in what its service publishes: a read that waits for this position must
    also wait for the deferred message.
    """

    receipt_key: str
    topic: str
    key: str
    compensates: str | None = None
    deferred_position: int | None = None
    lane: str | None = None
    lane_position: int | None = None


@dataclass(frozen=True, slots=True)
class ReceiveResult:
    """The result for one arrival. `reply` is the stored one, if any."""

    status: ReceiveStatus
    reply: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeferredMessage:
    """A message kept for a later attempt. `attempts` counts started attempts, and guards each write that ends one."""

    position: int
    consumer: str
    topic: str
    key: str
    receipt_key: str
    document: bytes = field(repr=False)
    attempts: int
    due_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class DeferredStats:
    """The number of deferred messages and of their keys, and the age of the oldest."""

    pending: int
    keys: int
    oldest_seconds: float


class InboxStore(Protocol):
    """The store of receipts and of deferred messages, in the service's own database.

    An implementation keeps:

    1. Receipts, replies, deferring and `finish` belong to the transaction that is passed in, the handler's own. An
       attempt that is rolled back leaves no receipt, and a deferred message as it was.
    2. A receipt key is handled as `NEW` once by each consumer. Its receipt is written before the handler runs, so a
       concurrent attempt waits: after the commit it is a `DUPLICATE` with the reply, after a rollback it is `NEW`.
    3. Calls with the same keys in any order do not lock each other out. If transactions that receive in several calls
       wait in a circle, one continues and another gets a `ConcurrencyConflict`.
    4. A compensation whose action was not handled has `NO_EFFECT`, and the action is `CANCELLED` from then on, however
       often it comes. Within one call their order decides. A compensation whose action has the reply that it was
       refused has `NO_EFFECT` too.
    5. A deferred message blocks the later ones of its (consumer, topic, key), also within the transaction that deferred
       it, and no others. A `BLOCKED` arrival writes nothing: no receipt, and no cancellation of an action.
    6. A claim commits the counted attempt before any handling. It returns the first message of a key only, when it is
       due by the database's time, to one caller. Each message behind it is returned in its turn.
    7. `attempts` fences an attempt. `finish`, `reschedule` and `release` return False and change nothing if the claim
       is not the latest, was finished or was released.
    8. Pruning deletes a bounded number of one consumer's receipts, older than its window. A redelivery within the
       window stays a duplicate.
    """

    async def receive(
        self, db_tx: DatabaseTransaction, consumer: str, arrivals: Sequence[IncomingMessage]
    ) -> Sequence[ReceiveResult]:
        """Write receipts in the transaction, and return the result for each arrival, in order. One or two round trips.

        If a receipt key comes twice in one call, the second is a duplicate. An arrival whose (topic, key) has a
        deferred message is `BLOCKED`, and so are all later ones of its key in the call. A deferred message itself is
        blocked by an earlier one only.
        """

    async def save_replies(self, db_tx: DatabaseTransaction, consumer: str, replies: Mapping[str, bytes]) -> None:
        """Store replies with their receipts, by receipt key, in the same transaction."""

    async def save_replies_last(self, db_tx: DatabaseTransaction, consumer: str, replies: Mapping[str, bytes]) -> None:
        """As `save_replies`, as one of a transaction's last writes, which an engine may send with the commit."""
        await self.save_replies(db_tx, consumer, replies)

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
        """Store a message behind all deferred ones of its key."""

    async def claim_due(
        self, consumer: str, limit: int, visibility_timeout_seconds: float
    ) -> Sequence[DeferredMessage]:
        """Claim deferred messages that are due and first of their key: count the attempt, and hide the key from other
        callers for `visibility_timeout_seconds`. This happens in its own transaction, before any handling.
        """

    async def finish(self, db_tx: DatabaseTransaction, message: DeferredMessage) -> bool:
        """Delete a claimed message in the handler's transaction. False: the claim is stale; the caller rolls back."""

    async def reschedule(self, message: DeferredMessage, delay_seconds: float, reason: str) -> bool:
        """Set the next due time of a claimed message. False: the claim is stale."""

    async def release(self, message: DeferredMessage) -> bool:
        """Release a claim: the message is due at once, and the attempt is not counted. False: the claim is stale."""

    async def next_due_seconds(self, consumer: str) -> float | None:
        """Return the seconds until a deferred message is due (negative: overdue for that long), None where nothing is
        deferred.
        """

    async def deferred(self, consumer: str | None, limit: int) -> Sequence[DeferredMessage]:
        """Return deferred messages, oldest first, for operators. `consumer` None: of all consumers."""

    async def received_at(self, consumer: str, receipt_key: str) -> datetime | None:
        """Return when a consumer handled the message of this receipt key; None where there is no receipt (any more)."""

    async def oldest_receipt_seconds(self, consumer: str) -> float:
        """Return the age of a consumer's oldest receipt, by the database's time; 0 where there is none."""

    async def stats(self) -> DeferredStats:
        """Return how much is deferred."""

    async def prune(self, consumer: str, older_than_seconds: float, limit: int) -> int:
        """Delete receipts of a consumer that are older than its window, `limit` at most; returns how many. Receipts of
        other consumers stay: several may share a database, each with its own window.
        """


INBOX: Final[Port[InboxStore]] = Port(
    "inbox", "receipts and deferred messages", InboxStore, "freehold.conformance.inbox:InboxStoreConformance"
)

DEFERRED: Final = Signal("deferred")
"""A message was deferred."""
