"""The dead-letter port: messages that could not be handled or sent, with all that is needed to understand and replay
them.

Pattern: imports the foundation and the ports. A replay makes a new message, linked to the original by causation id, for
the one consumer that failed (inbound: among its deferred messages, due at once; outbound: in the outbox). If the replay
fails, it is a dead letter of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = ["DEAD_LETTERS", "DeadLetter", "DeadLetterFilter", "DeadLetterStatus", "DeadLetterStore", "Direction"]


class Direction(StrEnum):
    """Which way the message was going."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class DeadLetterStatus(StrEnum):
    """What became of it."""

    DEAD = "dead"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up.

    reason      a word to group by: `invalid-envelope`, `unknown-type`, `invalid-body`, `attempts-exhausted`,
                `non-retryable`, `consumer-crashed`, `rejected-by-broker`.
    error_type  the exception's class name; `detail` is its text, free of content.
    document    the envelope as it arrived, maybe unreadable; `edited` replaces it at the next replay.
    """

    id: UUID
    direction: Direction
    consumer: str
    topic: str
    key: str
    message_id: UUID | None
    type: str
    reason: str
    error_type: str
    detail: str
    attempts: int
    failed_at: datetime
    status: DeadLetterStatus
    document: bytes = field(repr=False)
    edited: bytes | None = field(default=None, repr=False)
    replayed_as: UUID | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters; None stands for any. `limit` bounds every answer.

    after  the time and id of the last dead letter of the page before: what follows it, which is older.
    """

    status: DeadLetterStatus | None = DeadLetterStatus.DEAD
    consumer: str | None = None
    type: str | None = None
    reason: str | None = None
    id: UUID | None = None
    limit: int = 100
    after: tuple[datetime, UUID] | None = None


class DeadLetterStore(Protocol):
    """The store of messages that were given up, in the service's own database.

    An implementation keeps:

    1. A dead letter is added in the transaction that ends the message's way: both happen, or neither.
    2. The original document is never changed, readable or not. An edit is kept beside it, and the last one counts.
    3. Whatever an error is called and says is kept, readable: characters that cannot be stored are replaced, and the
       text is cut off at a bound. A failure that cannot be recorded would block others.
    4. `get` locks the dead letter until the transaction ends. A second operator waits, and sees what became of it.
    5. A dead letter ends once, by replay or by discard; from then on `edit` and `mark` raise `ConcurrencyConflict`. An
       unknown id is `NotFound`.
    6. `find` goes from the newest to the oldest, and by id within one moment. Pages follow one another without gaps,
       and without what came since the first page.
    7. Only what has ended is pruned, its age counts from the end, and a call deletes a bounded number. The others stay
       until an operator decides, however old, and only they are counted.
    """

    async def add(self, db_tx: DatabaseTransaction, letter: DeadLetter) -> None:
        """Keep a dead letter, in the transaction that ends the message's way."""

    async def find(self, wanted: DeadLetterFilter) -> Sequence[DeadLetter]:
        """Dead letters, newest first."""

    async def get(self, db_tx: DatabaseTransaction, letter_id: UUID) -> DeadLetter:
        """One dead letter, locked until the transaction ends. Raises `NotFound`."""

    async def edit(self, db_tx: DatabaseTransaction, letter_id: UUID, document: bytes) -> None:
        """Keep another document to be replayed; the original stays. Raises `NotFound`, `ConcurrencyConflict` (not
        dead).
        """

    async def mark(
        self, db_tx: DatabaseTransaction, letter_id: UUID, status: DeadLetterStatus, replayed_as: UUID | None
    ) -> None:
        """End a dead letter. Raises `NotFound`, `ConcurrencyConflict` where it has already ended."""

    async def count(self) -> dict[str, int]:
        """Dead letters by reason."""

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete replayed and discarded dead letters older than this; dead ones stay until somebody decides."""


DEAD_LETTERS: Final[Port[DeadLetterStore]] = Port(
    "deadletters", "dead letters", DeadLetterStore, "freehold.conformance.deadletters:DeadLetterStoreConformance"
)
