"""The outbox port. Pattern: imports the foundation and the ports.

What a store has to prevent, told with two transactions of one key:

    t1  A stages a message of the key and draws position 17; it is still open
    t2  B stages the next message of the key, draws position 18 and commits
    t3  the relay finds 18 alone, publishes it, and calls 18 the high-water mark
    t4  A commits: 17 is published after 18, below a watermark that was announced already

So B waits at t2 until A has ended, if their keys are equal. If they are not, B commits, and at t3 the high-water mark
stays below 17: it rests on the positions that transactions in progress may still commit (PostgreSQL: a marker that
staging takes before it draws; the others have one writer at a time).

And with a relay that lost its lease:

    t1  relay P fetches row 17 under token 4, and its process is frozen
    t2  relay Q takes the lease over with token 5, and fetches 17
    t3  P continues and publishes 17; under token 4 it can neither remove nor reschedule it, nor make it a dead letter
    t4  Q publishes 17 as well, and removes it under token 5

The message is on the broker twice, and the consumer's inbox discards the second. What becomes of the row is decided by
Q alone. Watermarks that P published at t3 are old and true; those that it left pending are refused with its deletes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
"""What the names of the leases on outbox partitions begin with."""
EVER_SECONDS: Final = 100 * 365.25 * 86400.0
"""Longer than anything is kept."""


def lease_name(partition: int) -> str:
    """The lease whose token guards what is done to the rows of a partition."""
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
    """How often brokers have lost the log of this service, as far as it was written down, and whether a loss is open
    (see `freehold.outbox.log`).
    """

    number: int = 0
    open: bool = False


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """Rows in order of position, with the marks of each partition whose lease is valid.

    high_water_marks    by partition: at or below this position every row has been published, dead-lettered or rolled
                        back, or is among `rows`; no row will appear there. It stays true, whoever holds the lease
                        later.
    pending_watermarks  by partition, where there is one: everything up to this position was published, and no message
                        has announced it yet.
    loss                the state of the broker's log; what is published of these rows is kept with its number.
    """

    rows: Sequence[StagedMessage] = ()
    high_water_marks: Mapping[int, int] = field(default_factory=dict)
    pending_watermarks: Mapping[int, int] = field(default_factory=dict)
    loss: LossState = field(default_factory=LossState)

    @classmethod
    def of(
        cls,
        rows: Sequence[StagedMessage],
        limit: int,
        high_water_marks: Mapping[int, int],
        pending_watermarks: Mapping[int, int],
        loss: LossState | None = None,
    ) -> Self:
        """Where the limit cut rows off, nothing is said beyond the last one given."""
        marks = high_water_marks
        if len(rows) >= limit:
            last = rows[-1].position
            marks = {partition: min(position, last) for partition, position in marks.items()}
        pending = {partition: position for partition, position in pending_watermarks.items() if position}
        return cls(rows, marks, pending, loss or LossState())


@dataclass(frozen=True, slots=True)
class UnsentMessage:
    """A row of the outbox for people.

    age_seconds      since it was staged.
    blocked_seconds  how long its key is still blocked by it; 0 where it is not.
    reason           why the broker refused it the last time; empty where it did not.
    """

    staged: StagedMessage
    age_seconds: float
    blocked_seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """How much waits. `oldest_seconds` is 0 when nothing does; it is the figure to alarm on."""

    pending: int
    blocked_keys: int
    oldest_seconds: float


class OutboxStore(Protocol):
    """The store of outgoing messages that wait for the relay, in the service's own database.

    An implementation keeps:

    1. Staging and `take` belong to the transaction that is passed in: rows appear, or leave, with its commit. A
       rollback or a cancellation leaves everything as it was.
    2. Rows of one key lie in one partition, `stable_hash(key) % partitions`, with positions in the order of commit:
       transactions that stage for equal keys wait for each other from staging to commit. Keys are locked in a fixed
       order, so that no deadlock arises; transactions of other keys do not wait if the engine has several writers.
    3. A token guards its own partition, in the statement that reads or writes. Under a stale token, or without a lease,
       nothing of a partition is fetched, and nothing of it is changed.
    4. A row leaves once: through `remove`, after the broker confirmed it, or through `take`, as a dead letter. A second
       call for the same row deletes nothing.
    5. A rescheduled row blocks its key, later rows included, and no other key. When its time has come, the rows come
       in their old order, with the attempt counted.
    6. The high-water mark of a partition is true for good: at or below it every row that ever was has left, or is among
       the rows given, and no new row will appear. Open transactions, blocked keys and the limit keep it lower, a
       rollback does not, and while a loss is open it is 0.
    7. A pending watermark is a published position that no message on the broker has announced yet. It changes in the
       transaction that removes the rows, under the same token, and stays until 0 is written in its place.
    8. The order of a key holds across a loss of the broker's log. While a loss is open, a row waits for every kept one
       of its key with a lower position and a lower number of losses (see `freehold.outbox.sent`).
    """

    @property
    def partitions(self) -> int:
        """How many partitions the rows are divided into; fixed when the table was made."""

    async def stage(self, db_tx: DatabaseTransaction, messages: Sequence[OutgoingMessage]) -> Sequence[int]:
        """Add messages in this order to the business transaction; returns their positions. One round trip for any
        number.
        """

    async def fetch(
        self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS
    ) -> OutboxBatch:
        """Return the oldest rows of the partitions leased (partition to token), in order of position, `limit` at most,
        with the high-water marks and pending watermarks. One round trip, one view of the tables. `limit` is 1 or more.

        Keys that are blocked by a rescheduled row are left out whole until its time has come; the high-water mark stays
        below them. While a loss is open, those of the oldest rows are left out that wait for what it took of their key,
        as far as that was confirmed first within `recall_seconds`: there may be none left although others wait.
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

        With `keep` the rows are moved to the messages that can be sent again (see `freehold.outbox.sent`): it is the
        state that came with them.

        Rows and pending watermarks of a partition whose token is stale stay; returns how many rows were deleted.
        """

    async def reschedule(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """Block the row's key for `delay_seconds`, count the attempt. False where the token is stale."""

    async def take(self, db_tx: DatabaseTransaction, leases: Mapping[int, int], message: StagedMessage) -> bool:
        """Delete a row that the broker will never take, in the transaction of whoever keeps it elsewhere; its position
        is a pending watermark then. False: the token is stale, or the row is gone.
        """

    async def unsent(self, limit: int) -> Sequence[UnsentMessage]:
        """Rows of all partitions, oldest first; for people."""

    async def stats(self) -> OutboxStats:
        """How much waits, and for how long."""


OUTBOX: Final[Port[OutboxStore]] = Port(
    "outbox", "staged messages", OutboxStore, "freehold.conformance.outbox:OutboxStoreConformance"
)

STAGED: Final = Signal("staged")
"""A commit put messages into the outbox."""
