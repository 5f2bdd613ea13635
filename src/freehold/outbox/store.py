"""The outbox port. Pattern: imports the foundation and the ports.

A store has to prevent this race of two transactions of one key:

    t1  A stages a message of the key and draws position 17; it is still open
    t2  B stages the next message of the key, draws position 18 and commits
    t3  the relay finds only 18, publishes it, and takes 18 as the high-water mark
    t4  A commits: 17 is published after 18, below a watermark that was announced already

So, if their keys are equal, B waits at t2 until A has ended. If they are not, B commits, and at t3 the high-water mark
stays below 17: it is computed from the positions that open transactions may still commit (on PostgreSQL from a marker
that staging takes before it draws; the other engines have one writer at a time).

And this race with a relay that lost its lease:

    t1  relay P fetches row 17 under token 4, and its process is frozen
    t2  relay Q takes the lease over with token 5, and fetches 17
    t3  P continues and publishes 17; under token 4 it can neither remove nor reschedule it, nor make it a dead letter
    t4  Q publishes 17 as well, and removes it under token 5

The message is on the broker twice, and the consumer's inbox discards the second. Only Q changes the row. Watermarks
that P published at t3 are old, but true; its pending watermarks are refused together with its deletes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from freehold.broker import OutgoingMessage
from freehold.context import Signal
from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = [
    "EVER_SECONDS",
    "LEASE_PREFIX",
    "OUTBOX",
    "STAGED",
    "LossState",
    "OutboxBatch",
    "OutboxStats",
    "OutboxStore",
    "StagedMessage",
    "UnsentMessage",
    "lease_name",
]

LEASE_PREFIX = "outbox/"
"""Prefix of the names of leases on outbox partitions."""
EVER_SECONDS: Final = 100 * 365.25 * 86400.0
"""A time longer than any retention."""


def lease_name(partition: int) -> str:
    """The name of the lease whose token guards the rows of a partition."""
    return f"{LEASE_PREFIX}{partition}"


@dataclass(frozen=True, slots=True)
class StagedMessage:
    """A row of the outbox. `position` orders the rows; `attempts` counts publications that were refused."""

    position: int
    partition: int
    message: OutgoingMessage
    attempts: int


@dataclass(frozen=True, slots=True)
class LossState:
    """The number of recorded losses of this service's brokers, and whether one is open (see `freehold.outbox.log`)."""

    number: int = 0
    open: bool = False


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """Rows in order of position, with the marks of each partition whose lease is valid.

    high_water_marks    by partition: at or below this position every row has been published, dead-lettered or rolled
                        back, or is among `rows`; no row will appear there. It stays true after a take-over.
    pending_watermarks  by partition, where there is one: everything up to this position was published, and no message
                        has announced it yet.
    loss                the losses of the broker's log; published rows are kept with this number of losses.
    more                the limit cut rows off: the next batch has rows, too.
    """

    rows: Sequence[StagedMessage] = ()
    high_water_marks: Mapping[int, int] = field(default_factory=dict)
    pending_watermarks: Mapping[int, int] = field(default_factory=dict)
    loss: LossState = field(default_factory=LossState)
    more: bool = False

    @classmethod
    def of(
        cls,
        rows: Sequence[StagedMessage],
        limit: int,
        high_water_marks: Mapping[int, int],
        pending_watermarks: Mapping[int, int],
        loss: LossState | None = None,
        *,
        share: int | None = None,
    ) -> Self:
        """Return a batch. If the limit cut rows off, no high-water mark is above the last returned row. If not more
        than `share` rows of a partition were read, its mark is not above its own last one.
        """
        marks = high_water_marks
        more = len(rows) >= limit
        if more:
            last = rows[-1].position
            marks = {partition: min(position, last) for partition, position in marks.items()}
        if share is not None and len(rows) >= share:
            for partition, count in Counter(row.partition for row in rows).items():
                if count >= share and partition in marks:
                    last = max(row.position for row in rows if row.partition == partition)
                    marks, more = {**marks, partition: min(marks[partition], last)}, True
        pending = {partition: position for partition, position in pending_watermarks.items() if position}
        return cls(rows, marks, pending, loss or LossState(), more)


@dataclass(frozen=True, slots=True)
class UnsentMessage:
    """A row of the outbox, for operators.

    age_seconds      time since it was staged.
    blocked_seconds  time for which it still blocks its key; 0 where it does not.
    reason           the broker's last reason for rejecting it; empty where there is none.
    """

    staged: StagedMessage
    age_seconds: float
    blocked_seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """The number of waiting messages. `oldest_seconds` is 0 where there are none; it is the figure for an alarm."""

    pending: int
    blocked_keys: int
    oldest_seconds: float


class OutboxStore(Protocol):
    """The store of outgoing messages that wait for the relay, in the service's own database.

    An implementation keeps:

    1. Staging and `take` belong to the transaction that is passed in: rows appear, or leave, with its commit. A
       rollback or a cancellation leaves everything as it was.
    2. Rows of one key are in one partition, `stable_hash(key) % partitions`, with positions in the order of commit:
       transactions that stage for equal keys wait for each other from staging to commit. Keys are locked in a fixed
       order, so that no deadlock arises; transactions of other keys do not wait if the engine has several writers.
    3. A token guards its own partition, in the statement that reads or writes. Under a stale token, or without a lease,
       no row of a partition is fetched or changed.
    4. A row is deleted once: by `remove`, after the broker confirmed it, or by `take`, as a dead letter. A second call
       for the same row deletes nothing.
    5. A rescheduled row blocks its key, later rows included, and no other key. When it is due, the rows are fetched in
       their old order, with the attempt counted.
    6. The high-water mark of a partition stays true: at or below it every row has been deleted, or is among the
       returned rows, and no new row will appear. Open transactions, blocked keys and the limit keep it lower, a
       rollback does not, and while a loss is open it is 0.
    7. A pending watermark is a published position that no message on the broker has announced yet. It changes in the
       transaction that removes the rows, under the same token, and stays until 0 is written in its place.
    8. The order of a key holds across a loss of the broker's log. While a loss is open, a row waits for every kept one
       of its key with a lower position and a lower number of losses (see `freehold.outbox.sent`).
    """

    @property
    def partitions(self) -> int:
        """The number of partitions of the rows; fixed when the table was made."""

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        """Add messages in this order to the business transaction; returns their positions. One round trip for any
        number.
        """

    async def stage_last(
        self,
        db_tx: DatabaseTransaction,
        messages: Sequence[OutgoingMessage],
        tell: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        """As `stage`, for messages that are a transaction's last write: nothing but its commit follows. `tell` is
        called with their positions before the block of the transaction has ended.

        An engine may write them with the commit. Then they follow what was staged before, and the end of the block
        raises what `stage` would have raised.
        """
        positions = await self.stage(db_tx, messages)
        if tell is not None:
            tell(positions)

    async def fetch(
        self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS
    ) -> OutboxBatch:
        """Return the oldest rows of the partitions leased (partition to token), in order of position, `limit` at most,
        with the high-water marks and pending watermarks. One round trip, one view of the tables. `limit` is 1 or more.

        Keys that are blocked by a rescheduled row are left out until the row is due; the high-water mark stays below
        them. While a loss is open, the rows are left out that wait for lost messages of their key which were first
        confirmed within `recall_seconds`. The oldest rows may all be left out then, although later rows exist.
        """

    async def remove(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        pending_watermarks: Mapping[int, int] | None = None,
        *,
        keep: LossState | None = None,
    ) -> int:
        """Delete confirmed rows, and write the pending watermarks of their partitions (0: none), in one transaction.

        With `keep`, the `loss` of their batch, the rows are moved to the sent messages (see `freehold.outbox.sent`).

        Rows and pending watermarks of a partition whose token is stale stay; returns how many rows were deleted.
        """

    async def advance(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        pending_watermarks: Mapping[int, int],
        limit: int,
        *,
        keep: LossState | None = None,
        recall_seconds: float = EVER_SECONDS,
    ) -> tuple[int, OutboxBatch]:
        """`remove`, and then `fetch` under the same leases; returns how many rows were deleted, and the next batch.
        One round trip where the engine has one for both; nothing is removed then if the fetch fails.
        """
        removed = await self.remove(leases, messages, pending_watermarks, keep=keep)
        return removed, await self.fetch(leases, limit, recall_seconds=recall_seconds)

    async def reschedule(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """Block the row's key for `delay_seconds`, and count the attempt. False: the token is stale."""

    async def take(self, db_tx: DatabaseTransaction, leases: Mapping[int, int], message: StagedMessage) -> bool:
        """Delete a row that the broker rejects for good, in the transaction that stores it as a dead letter. Its
        position becomes a pending watermark. False: the token is stale, or the row does not exist any more.
        """

    async def unsent(self, limit: int) -> Sequence[UnsentMessage]:
        """Return rows of all partitions, oldest first, for operators."""

    async def stats(self) -> OutboxStats:
        """Return how many messages wait, and for how long."""


OUTBOX: Final[Port[OutboxStore]] = Port(
    "outbox", "staged messages", OutboxStore, "freehold.conformance.outbox:OutboxStoreConformance"
)

STAGED: Final = Signal("staged", leased=True)
"""A commit put messages into the outbox."""
