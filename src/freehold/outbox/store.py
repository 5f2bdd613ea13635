"""The outbox port. Pattern: imports the foundation and the ports.

Invariants: a message is staged in the business transaction and becomes visible with its commit. Rows of one key lie in
one partition, `stable_hash(key) % partitions`, in the order of commit: the adapter makes sure that for equal keys the
position is drawn and committed one transaction after the other (a key's transactions wait for each other from staging
to commit; staging happens right before commit, keys are locked in a fixed order). A row leaves only through `remove`,
with the lease token of its partition, after the broker confirmed it, or as a dead letter.

What is fetched comes with what is **settled**: the position of each partition at or below which every row that ever
was has left, or is among the rows given, and none will appear any more. It rests on the positions that transactions in
progress may still commit (PostgreSQL: a marker that staging takes before it draws; the others have one writer at a
time). What a partition **owes** is a position that is published, and of which no message on the broker says so yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from freehold.broker import Outgoing
from freehold.database import UnitOfWork

__all__ = ["LEASE_PREFIX", "Fetched", "OutboxStats", "OutboxStore", "StagedMessage", "lease_name"]

LEASE_PREFIX = "outbox/"
"""What the names of the leases on outbox partitions begin with."""


def lease_name(partition: int) -> str:
    """The lease whose token guards what is done to the rows of a partition."""
    return f"{LEASE_PREFIX}{partition}"


@dataclass(frozen=True, slots=True)
class StagedMessage:
    """A row of the outbox. `position` orders the rows; `attempts` counts publications that were refused."""

    position: int
    partition: int
    message: Outgoing
    attempts: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """Rows in order of position, and for each partition whose lease is valid what is settled and what is owed.

    settled  by partition: at or below this position every row has been published, buried or rolled back, or is among
             `rows`; no row will appear there. It stays true, whoever holds the lease later.
    owed     by partition, where there is one: through here all was published, and no message says so yet.
    """

    rows: Sequence[StagedMessage] = ()
    settled: Mapping[int, int] = field(default_factory=dict)
    owed: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[StagedMessage], limit: int, settled: Mapping[int, int], owed: Mapping[int, int]) -> Self:
        """Where the limit cut rows off, nothing is said beyond the last one given."""
        if len(rows) >= limit:
            last = rows[-1].position
            settled = {partition: min(position, last) for partition, position in settled.items()}
        return cls(rows, settled, {partition: position for partition, position in owed.items() if position})


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

    async def stage(self, unit: UnitOfWork, messages: Sequence[Outgoing]) -> Sequence[int]:
        """Add messages in this order to the business transaction; returns their positions. One round trip for any
        number.
        """

    async def fetch(self, leases: Mapping[int, int], limit: int) -> Fetched:
        """Return the oldest rows of the partitions leased (partition to token), in order of position, `limit` at most,
        with what is settled and owed. One round trip, one view of the table. `limit` is 1 or more.

        Keys that are blocked by a postponed row are left out whole until its time has come; they hold what is settled
        below them.
        """

    async def remove(
        self,
        leases: Mapping[int, int],
        messages: Collection[StagedMessage],
        owed: Mapping[int, int] | None = None,
    ) -> int:
        """Delete confirmed rows, and note what their partitions owe from now on (0: nothing), in one transaction.

        Rows and debts of a partition whose token is stale stay; returns how many rows were deleted.
        """

    async def postpone(
        self, leases: Mapping[int, int], message: StagedMessage, delay_seconds: float, reason: str
    ) -> bool:
        """Block the row's key for `delay_seconds`, count the attempt. False where the token is stale."""

    async def bury(self, leases: Mapping[int, int], message: StagedMessage, reason: str) -> bool:
        """Move a row that the broker will never take to the dead letters, in one transaction; its partition owes its
        position then. False: stale token.
        """

    async def stats(self) -> OutboxStats:
        """How much waits, and for how long."""
