"""The port of sent messages: confirmed by the broker, and kept for a while. Pattern: imports the foundation and the
ports.

A broker can lose messages that it has confirmed. A row that leaves the outbox with `keep` is moved here. `send_again`
moves it back into the outbox, and the relay publishes it like every other row. While a loss is open, the relay calls
`recall`, so that newer messages of a key need not wait for an operator. Without `recall`, two messages of one order
could end like this:

    t1  `held` is confirmed, and the broker loses its log; `captured` still waits in the outbox
    t2  `captured` is published into the new log, and a consumer handles it
    t3  a resend brings both: `held` is handled now, `captured` is discarded by its receipt
    t4  the consumer stays at `held` for ever

So while the loss is open, a fetch leaves `captured` out until `recall` has moved `held` back and `held` was published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from freehold.database import DatabaseTransaction
from freehold.outbox.store import EVER_SECONDS
from freehold.ports import Port

__all__ = ["SENT", "Kept", "SentAgain", "SentStore"]


@dataclass(frozen=True, slots=True)
class Kept:
    """The range of kept messages. `now` is the database's time; the other two are None where nothing is kept."""

    now: datetime
    oldest_at: datetime | None
    last_position: int | None


@dataclass(frozen=True, slots=True)
class SentAgain:
    """The result of one step. The next step continues after `position`; `done` says that there is no next one."""

    moved: int
    position: int
    done: bool


class SentStore(Protocol):
    """The store of confirmed messages that may have to be sent again, in the service's own database.

    An implementation keeps:

    1. A message is either in the outbox or here, never in both or neither: it is deleted in one place and inserted in
       the other by one statement or transaction.
    2. `send_again` belongs to the transaction that is passed in. After a rollback or a crash of the process, the
       messages are where they were.
    3. A message that is moved back keeps its position. So it comes before what was staged later, and the order of its
       key stays. Positions that are drawn afterwards are higher, and high-water marks stay true.
    4. `since`, `recall_seconds` and pruning compare with the time of the first confirmation. This time stays when the
       message is sent again, because the receipts of its consumers are as old, and are pruned by that age.
    5. A kept message has the number of losses that `fetch` read with it. A row that was fetched before a loss was
       recorded counts as lost, wherever it was published.
    6. `recall` moves only messages that the oldest rows wait for, in partitions whose lease is valid. A key that is
       blocked in the outbox is left out until it is due, and blocks no other key.
    7. Relays and resends may work at the same time: each message is moved once, and the messages of a key are fetched
       in order, beginning with the oldest that was lost.
    8. Each call moves or deletes a bounded number; `prune` begins with the oldest.
    """

    async def kept(self) -> Kept:
        """Return the range of kept messages. One round trip."""

    async def send_again(
        self, db_tx: DatabaseTransaction, since: datetime, after: int, through: int, limit: int
    ) -> SentAgain:
        """Move messages back into the outbox: those confirmed at `since` or later, with a position above `after` and
        not above `through`, in order of position, `limit` at most.

        Two concurrent callers move each message once.
        """

    async def recall(self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS) -> int:
        """Move back into the outbox, while a loss is open, the messages that rows of the leased partitions wait for:
        kept messages of the same key with a lower position, published before the loss was recorded, and first confirmed
        within `recall_seconds`. It considers the oldest rows, as a `fetch` with this limit does. It moves in order of
        position, `limit` at most; returns how many.

        0: none of these rows waits any more, or another caller moves what they wait for.
        """

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete messages that were confirmed longer ago than that, oldest first, `limit` at most; returns how many."""


SENT: Final[Port[SentStore]] = Port(
    "sent", "messages sent again", SentStore, "freehold.conformance.sent:SentStoreConformance"
)
