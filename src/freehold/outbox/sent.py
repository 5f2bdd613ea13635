"""The port of messages that were confirmed and are kept for a while. Pattern: imports the foundation and the ports.

A broker can lose what it confirmed. A row that leaves the outbox with `keep` is here from then on, and `send_again`
moves it back; the relay publishes it as it publishes everything. The relay calls `recall` while a loss is open, so that
what is newer waits for no operator. Without it, two messages of one order could end like this:

    t1  `held` is confirmed, and the broker loses its log; `captured` still waits in the outbox
    t2  `captured` is published into the new log, and a consumer handles it
    t3  a resend brings both: `held` is handled now, `captured` is discarded by its receipt
    t4  the consumer stays at `held` for ever

So while the loss is open, a fetch leaves `captured` out until `recall` has moved `held` back and it was published.
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
    """What is kept. `now` is the database's time; `oldest_at` and `last_position` are None where nothing is kept."""

    now: datetime
    oldest_at: datetime | None
    last_position: int | None


@dataclass(frozen=True, slots=True)
class SentAgain:
    """What one step did. `position` is where the next one goes on; `done` says that there is none."""

    moved: int
    position: int
    done: bool


class SentStore(Protocol):
    """The store of messages that the broker confirmed and may have to be sent once more, in the service's own database.

    An implementation keeps:

    1. A message is in the outbox or here, never in both and never in none: the statement or the transaction that
       deletes it in one place inserts it in the other.
    2. `send_again` belongs to the transaction that is passed in. After a rollback, or when the process is killed, the
       messages are where they were.
    3. A message that is moved back has its old position, and so comes before what was staged later, in the old order of
       its key. Positions that are drawn afterwards are higher, and high-water marks stay true.
    4. The time that counts is that of the first confirmation, for `since`, `recall_seconds` and pruning. It stays when
       the message is sent again: receipts of the consumers that handled it may be as old, and are pruned by that age.
    5. A kept message has the number of losses that `fetch` read with it. A row that was fetched before a loss was
       written down counts as lost with it, wherever it was published.
    6. `recall` moves only what the oldest rows wait for, in partitions whose lease is valid. A key that is blocked in
       the outbox is left out until its time has come, and keeps no other key from its turn.
    7. Relays and resends may work at the same time: each message is moved once, and what is fetched of a key goes
       upwards from the oldest that was lost.
    8. Each call moves or deletes a bounded number; `prune` begins with the oldest.
    """

    async def kept(self) -> Kept:
        """How far back messages are kept. One round trip."""

    async def send_again(
        self, db_tx: DatabaseTransaction, since: datetime, after: int, through: int, limit: int
    ) -> SentAgain:
        """Move messages back into the outbox: those confirmed at `since` or later, with a position above `after` and
        not above `through`, in order of position, `limit` at most.

        Two who do so at the same time move each message once.
        """

    async def recall(self, leases: Mapping[int, int], limit: int, *, recall_seconds: float = EVER_SECONDS) -> int:
        """Move back into the outbox what rows of the partitions leased wait for, while a loss is open: kept messages of
        the same key with a lower position, that were published before the loss was written down, and were confirmed
        first within `recall_seconds`. It looks at the oldest rows, those that a `fetch` with this limit looks at; moves
        in order of position, `limit` at most; returns how many.

        0: none of these rows waits any more, or somebody else moves what they wait for.
        """

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete messages that were confirmed longer ago, oldest first, `limit` at most; returns how many."""


SENT: Final[Port[SentStore]] = Port(
    "sent", "messages sent again", SentStore, "freehold.conformance.sent:SentStoreConformance"
)
