"""The inbox port: receipts of handled messages, and messages deferred to a later try. Pattern: imports foundation and
ports.

All attempts of one request share a receipt key (`Envelope.receipt_key`). A compensation names the key of its action
(`Envelope.compensates`), because it may come first:

    t1  a saga requests an action, gets no reply, and sends the compensation
    t2  the compensation arrives: there is nothing to undo, and it claims the receipt of the action
    t3  the action arrives: its receipt is there, so it is cancelled and never carried out

If the action is being handled at t2, the compensation waits for the end of that transaction: after the commit there is
something to undo, after a rollback it continues as at t2.

A message that failed is deferred: kept here, while the broker's position moves on. A try may be slower than expected:

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
    """What the inbox says of an arrival."""

    NEW = "new"
    """Not handled yet; the receipt is now in this transaction: handle it."""
    DUPLICATE = "duplicate"
    """Handled before; `ReceiveResult.answer` holds what was answered."""
    CANCELLED = "cancelled"
    """Its compensation came first; do not handle it, reply that it is cancelled."""
    NO_EFFECT = "no-effect"
    """A compensation whose action was never handled: it has nothing to do, and the action is cancelled for good."""
    BLOCKED = "blocked"
    """An earlier message of its key is deferred: defer it behind that one. No receipt was written."""


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """What the inbox needs to know of a message. `deferred_position` is set when it comes from the deferred ones.

    `lane` and `lane_position` say where it stands in what its service publishes: who waits for that must know that it
    is deferred.
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
    """The inbox's word on an arrival."""

    status: ReceiveStatus
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeferredMessage:
    """A message kept for a later try. `attempts` counts tries begun; it guards every write that ends a try."""

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
    """How much is deferred, and for how long."""

    pending: int
    keys: int
    oldest_seconds: float


class InboxStore(Protocol):
    """The store of receipts and of deferred messages, in the service's own database.

    An implementation keeps:

    1. Receipts, answers, deferring and `finish` belong to the transaction that is passed in, the handler's own. An
       attempt that is rolled back leaves no receipt, and a deferred message as it was.
    2. A receipt key is handled as `NEW` once by each consumer. Its receipt is written before the handler runs, so a
       concurrent attempt waits: after the commit it is a `DUPLICATE` with the answer, after a rollback it is `NEW`.
    3. Calls with the same keys in any order do not lock each other out. If transactions that receive in several calls
       wait in a circle, one continues and another gets a `ConcurrencyConflict`.
    4. A compensation whose action was not handled has `NO_EFFECT`, and the action is `CANCELLED` from then on, however
       often it comes. Within one call their order decides.
    5. A deferred message blocks the later ones of its (consumer, topic, key), also within the transaction that deferred
       it, and no others. A `BLOCKED` arrival writes nothing: no receipt, and no cancellation of an action.
    6. A claim commits the counted attempt before any handling. It returns the first of a key only, when it is due by
       the database's time, to one instance; none that waits behind it is passed over for good.
    7. `attempts` fences a try. `finish`, `reschedule` and `release` return False and change nothing if the claim is not
       the latest, was finished or was released.
    8. Pruning deletes a bounded number of one consumer's receipts, older than its window. A redelivery within the
       window stays a duplicate.
    """

    async def receive(
        self, db_tx: DatabaseTransaction, consumer: str, arrivals: Sequence[IncomingMessage]
    ) -> Sequence[ReceiveResult]:
        """Write receipts in the transaction and say of each arrival, in order, what it is. One or two round trips.

        A key twice in one call: the second is a duplicate. An arrival whose (topic, key) has a deferred message (for
        one that comes from there: an earlier one) is `BLOCKED`, and so is every later one of its key in the call.
        """

    async def save_replies(self, db_tx: DatabaseTransaction, consumer: str, answers: Mapping[str, bytes]) -> None:
        """Keep what was answered, by receipt key, in the same transaction."""

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
        """Queue a message behind all deferred ones of its key."""

    async def claim_due(
        self, consumer: str, limit: int, visibility_timeout_seconds: float
    ) -> Sequence[DeferredMessage]:
        """Begin a try of deferred messages that are due and first of their key: counts the attempt, and hides the key
        from other instances for `visibility_timeout_seconds`, in a transaction of its own, before any handling.
        """

    async def finish(self, db_tx: DatabaseTransaction, message: DeferredMessage) -> bool:
        """Delete a claimed message in the handler's transaction. False: the claim is stale, roll back."""

    async def reschedule(self, message: DeferredMessage, delay_seconds: float, reason: str) -> bool:
        """Give a claimed message its next time. False: the claim is stale."""

    async def release(self, message: DeferredMessage) -> bool:
        """Let others claim a message at once, and take back that an attempt of it was counted: none was made, or
        something else stood in its way. False: the claim is stale.
        """

    async def next_due_seconds(self, consumer: str) -> float | None:
        """Seconds until a deferred message is due (below zero: one has been due for so long), None when nothing is
        deferred.
        """

    async def deferred(self, consumer: str | None, limit: int) -> Sequence[DeferredMessage]:
        """Deferred messages, oldest first; for people."""

    async def received_at(self, consumer: str, receipt_key: str) -> datetime | None:
        """When a consumer handled a message of this receipt key; None where there is no receipt, or not any more."""

    async def oldest_receipt_seconds(self, consumer: str) -> float:
        """How old the oldest receipt of a consumer is, by the database's time; 0 where there is none."""

    async def stats(self) -> DeferredStats:
        """How much is deferred."""

    async def prune(self, consumer: str, older_than_seconds: float, limit: int) -> int:
        """Delete receipts of a consumer that are older than its window, `limit` at most; returns how many. Those of
        other consumers stay: several may share a database, each with a window of its own.
        """


INBOX: Final[Port[InboxStore]] = Port(
    "inbox", "receipts and deferred messages", InboxStore, "freehold.conformance.inbox:InboxStoreConformance"
)

DEFERRED: Final = Signal("deferred")
"""A message was deferred."""
