"""The port of messages that were confirmed and are kept for a while. Pattern: imports the foundation and the ports.

A broker can lose what it confirmed. A row that leaves the outbox with `keep` is here from then on, moved by the very
statement that removes it: it is in the outbox or here, never in both and never in none. `send_again` moves it back, at
its old position, and so before what was staged later; the relay publishes it as it publishes everything.

Whoever works a relay calls `recall` while a loss is open, so that what is newer waits for no person.

`sent_at` is when a message was confirmed for the first time. It stays when the message is sent again: receipts of those
who handled it may be as old as that, and are pruned by that age.
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
    """Where confirmed messages are kept: the service's own database."""

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
