"""The event store port. Pattern: imports the foundation and the database port.

Invariants, for every adapter (the conformance suite proves them):

- A **stream** is the history of one thing, named `category-id`; its events have versions 1, 2, 3 … without a gap.
- Every event has a **global position**, greater than that of every event of its stream before it, and greater than that
  of every event that was committed before its own append began. Positions may have gaps; they are never used twice.
- **read_all skips nothing.** A page ends before the first position that a transaction in progress may still fill, so
  whoever goes on from `Page.through` has seen every event up to it. It never waits for transactions that do not append,
  and never decides by time. `Page.through` is the position of an event that was committed, never a number that was only
  drawn: a crash may take those back.
- An append is part of the caller's transaction, or is one of its own in a single round trip (`append_now`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Protocol
from uuid import UUID

import msgspec

from freehold.context import Signal
from freehold.database import DatabaseTransaction
from freehold.ids import stable_hash
from freehold.ports import Port

__all__ = [
    "APPENDED",
    "BUCKETS",
    "EVENTS",
    "EVERYTHING",
    "NO_HEADERS",
    "Append",
    "AppendResult",
    "Body",
    "EventFilter",
    "EventStore",
    "Expectation",
    "ExpectedVersion",
    "NewEvent",
    "Page",
    "RecordedEvent",
    "bucket_of",
    "category_of",
    "checked_limit",
]

BUCKETS: Final = 256
"""Streams are divided into so many buckets by the hash of their name; partitioned readers share the buckets."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
"""What an event without headers has."""


class Expectation(StrEnum):
    """What a writer expects of a stream when it does not name its version."""

    ANY = "any"
    NO_STREAM = "no-stream"
    STREAM_EXISTS = "stream-exists"


ExpectedVersion = int | Expectation
"""The version that the stream must have, 0 for an empty one, or an `Expectation`."""


# Events are read by the ten thousand: a frozen Struct is made in a fifth of the time that a frozen dataclass takes, and
# since it can be part of no reference cycle, the garbage collector need not track it.
class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event to append. `data` is the encoded event; `type` and `schema_version` are those it was declared with.

    Immutable; `msgspec.structs.replace` makes another one.

    subject_key  names the key that personal data in `data` is encrypted with: whoever throws that key away has erased
                 the data. None where there is none.
    hlc          hybrid-logical-clock stamp of the appending commit.
    """

    id: UUID
    type: str
    schema_version: int
    data: bytes
    correlation_id: UUID
    hlc: int
    causation_id: UUID | None = None
    trace_parent: str | None = None
    subject_key: str | None = None
    headers: Mapping[str, str] = NO_HEADERS

    def __repr__(self) -> str:
        """What tells events apart, without what they hold."""
        return f"NewEvent(id={self.id}, type={self.type!r}, schema_version={self.schema_version})"


class RecordedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as it is stored. `recorded_at` is the database's time of the append: for people, never for an order."""

    position: int
    stream: str
    version: int
    recorded_at: datetime
    event: NewEvent


Body = tuple[int, str, int, bytes]
"""What a fold needs of a stored event: version, type, schema version, data."""


@dataclass(frozen=True, slots=True)
class Append:
    """Events for one stream, in order."""

    stream: str
    events: Sequence[NewEvent]
    expected: ExpectedVersion = Expectation.ANY


@dataclass(frozen=True, slots=True)
class AppendResult:
    """Where a stream stands after an append: version and position of the last event, and the positions of all."""

    stream: str
    version: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of all a reader wants; empty sets want all. `partition` of `partitions` is by bucket of the stream.

    Event types are names, whichever version. `recorded_from` and `recorded_to` (exclusive) are for people who replay
    a span of time.
    """

    categories: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    partition: int = 0
    partitions: int = 1
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None


EVERYTHING: Final = EventFilter()


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order of position, and the position end_position which nothing is missing: go on from there.

    `end_position` is at least the last event's position; it is the reader's own `after` where nothing new is settled.
    """

    events: tuple[RecordedEvent, ...]
    end_position: int


def checked_limit(limit: int) -> int:
    """How many events a page may hold: one at least, for engines read 0 and less each in its own way. `ValueError`."""
    if limit < 1:
        raise ValueError("the limit of a page of events is at least 1")
    return limit


class EventStore(Protocol):
    """Where events are kept: the service's own database."""

    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Add events to streams, all of them or none, in one round trip; a stream is named once.

        Writers of one stream take turns, from here to the commit; streams are locked in a fixed order. Raises
        `ConcurrencyConflict` that names the stream, what was expected and what was found; the transaction is then of no
        further use.
        """

    async def append_now(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """The same in a transaction of its own."""

    async def read_stream(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 1000,
        backwards: bool = False,
        db_tx: DatabaseTransaction | None = None,
    ) -> Sequence[RecordedEvent]:
        """Events of a stream with versions between `after` and `before`, both exclusive; the newest first where
        `backwards`. With a `db_tx` its own uncommitted appends are seen too. Raises `ValueError` for a limit below 1.
        """

    async def read_bodies(
        self, stream: str, *, after: int = 0, limit: int = 1000, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Body]:
        """As `read_stream` forwards, the bodies alone: for folds of long streams, which need nothing else."""

    async def version(self, stream: str, *, db_tx: DatabaseTransaction | None = None) -> int:
        """The version of a stream, 0 where it has no event."""

    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        """The events after a position that are wanted, `limit` at most. Never skips (see the module).

        Raises `ValueError` for a limit below 1.
        """

    async def high_water_mark(self) -> int:
        """The position through which all is settled; 0 in an empty store. What a reader that is up to date has reached.

        After a commit has returned, `high_water_mark` may be below its position only while another append that began
        before is still open.
        """

    async def count(
        self, after: int, through: int, event_filter: EventFilter = EVERYTHING, *, limit: int = 100_000
    ) -> int:
        """How many wanted events lie after one position, through another; counts no further than `limit`."""

    async def recorded_at(self, after: int, event_filter: EventFilter = EVERYTHING) -> datetime | None:
        """When the first wanted event after a position was recorded; None where there is none."""


EVENTS: Final[Port[EventStore]] = Port(
    "events", "event streams", EventStore, "freehold.conformance.events:EventStoreConformance"
)


def category_of(stream: str) -> str:
    """What a stream belongs to: the name up to its first '-'."""
    return stream.partition("-")[0]


@lru_cache(maxsize=8192)
def bucket_of(stream: str) -> int:
    """The bucket of a stream, the same in every process. Remembered: a stream's events mostly follow one another."""
    return stable_hash(stream) % BUCKETS


APPENDED: Final = Signal("appended")
"""A commit appended events."""
