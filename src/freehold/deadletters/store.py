"""The dead-letter port: messages that could not be handled or sent, with everything needed to understand and replay
them. Pattern: imports the foundation and the ports.

A replay makes a new message, with the original as its cause. An inbound one is deferred for the one consumer that
failed, due at once; an outbound one is staged in the outbox. If the replay fails, it becomes a new dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = [
    "DEAD_LETTERS",
    "REASONS",
    "DeadLetter",
    "DeadLetterBacklog",
    "DeadLetterFilter",
    "DeadLetterStatus",
    "DeadLetterStore",
    "Direction",
]

REASONS: Final = (
    "invalid-envelope",
    "unknown-type",
    "invalid-body",
    "attempts-exhausted",
    "non-retryable",
    "consumer-crashed",
    "rejected-by-broker",
)
"""Why a message was given up: all words that a dead letter may have."""


class Direction(StrEnum):
    """Whether a consumer could not handle the message (`inbound`), or the relay could not publish it (`outbound`)."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class DeadLetterStatus(StrEnum):
    """The status of a dead letter. The last two are terminal."""

    DEAD = "dead"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up.

    reason      one of `REASONS`.
    error_type  the exception's class name; `detail` is its text, without content of the message.
    document    the envelope as it arrived, which may be unreadable; a replay sends `edited` in its place, if set.
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
    """A filter for dead letters; None matches any. `limit` bounds the result.

    after  time and id of the last dead letter of the page before; older ones follow.
    """

    status: DeadLetterStatus | None = DeadLetterStatus.DEAD
    consumer: str | None = None
    type: str | None = None
    reason: str | None = None
    id: UUID | None = None
    limit: int = 100
    after: tuple[datetime, UUID] | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterBacklog:
    """How many dead letters of one reason wait for an operator, and when the oldest of them failed."""

    number: int
    oldest_at: datetime


class DeadLetterStore(Protocol):
    """The store of messages that were given up, in the service's own database.

    An implementation keeps:

    1. A dead letter is added in the transaction that removes the message: both happen, or neither.
    2. The original document is never changed, readable or not. An edited one is stored beside it; the last one counts.
    3. Any name and text of an error can be stored: characters that cannot be stored are replaced, and the text is cut
       off at a bound. Otherwise a failure that cannot be recorded would block other messages.
    4. `get` locks the dead letter until the transaction ends. A second operator waits, and then sees the new status.
    5. A dead letter ends once, by replay or by discard; from then on `edit` and `mark` raise `ConcurrencyConflict`. An
       unknown id is `NotFound`.
    6. `find` returns the newest first, and orders equal times by id. Pages follow one another without gaps, and contain
       no dead letter that is newer than the first page.
    7. Only ended dead letters are pruned, by the age of their end, and a call deletes a bounded number. The others stay
       until an operator decides, however old they are, and `count` counts only them.
    """

    async def add(self, db_tx: DatabaseTransaction, letter: DeadLetter) -> None:
        """Store a dead letter, in the transaction that removes the message."""

    async def find(self, wanted: DeadLetterFilter) -> Sequence[DeadLetter]:
        """Return dead letters, newest first."""

    async def get(self, db_tx: DatabaseTransaction, letter_id: UUID) -> DeadLetter:
        """Return one dead letter, locked until the transaction ends. Raises `NotFound`."""

    async def edit(self, db_tx: DatabaseTransaction, letter_id: UUID, document: bytes) -> None:
        """Store another document for the replay; the original stays. Raises `NotFound`, `ConcurrencyConflict` where the
        dead letter has ended.
        """

    async def mark(
        self, db_tx: DatabaseTransaction, letter_id: UUID, status: DeadLetterStatus, replayed_as: UUID | None
    ) -> None:
        """End a dead letter. Raises `NotFound`, `ConcurrencyConflict` where it has already ended."""

    async def count(self) -> dict[str, int]:
        """Return the number of dead letters that have not ended, by reason."""

    async def backlog(self) -> Mapping[str, DeadLetterBacklog]:
        """Return those that have not ended, by reason; a reason without any is left out."""

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete dead letters that were replayed or discarded longer ago, `limit` at most; returns how many."""


DEAD_LETTERS: Final[Port[DeadLetterStore]] = Port(
    "deadletters", "dead letters", DeadLetterStore, "freehold.conformance.deadletters:DeadLetterStoreConformance"
)
