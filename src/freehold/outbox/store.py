"""The outbox port. Pattern: imports the foundation and the ports.

Invariants: a message is staged in the business transaction and becomes visible with its commit. Rows of one key lie in
one partition, `stable_hash(key) % partitions`, in the order of commit: the adapter makes sure that for equal keys the
position is drawn and committed one transaction after the other (a key's transactions wait for each other from staging
to commit; staging happens right before commit, keys are locked in a fixed order). A row leaves only through `remove`,
with the lease token of its partition, after the broker confirmed it, or as a dead letter.

The order of a key holds across a **loss** of the broker's log as well. A row that was published is kept with the number
of losses that had been written down when it was fetched. While a loss is open, a row waits for every kept one of its
key with a lower position and a lower number: that one may be gone, and is published again first (see
`freehold.outbox.sent`).

A batch comes with the **high-water mark** of each partition: at or below this position every row that ever was has
left, or is among the rows given, and no row will appear any more. It rests on the positions that transactions in
progress may still commit (PostgreSQL: a marker that staging takes before it draws; the others have one writer at a
time). A **pending watermark** is a published position that no message on the broker has announced yet.
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
    """Where messages wait for the relay: the service's own database."""

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
