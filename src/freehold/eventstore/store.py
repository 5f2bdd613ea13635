"""The event store port. Pattern: imports the foundation and the database port.

A **stream** is the history of one thing, named `category-id`. Every event has a **global position** as well. Where
several transactions write at once, positions are drawn in one order and committed in another. A reader of all events
that continues from the last position it saw would skip a slow append:

    t1  A appends to one stream: draws position 17, and stays open
    t2  B appends to another stream: draws position 18, and commits
    t3  a reader that has come to 16 asks for what follows: 18 can be seen, 17 cannot
    t4  A commits 17; a reader that had continued from 18 would never see it

So the page of t3 is empty and ends at 16, and the next page, after t4, has both. Whether A may still commit is known
from its transaction, never from the time that has passed: an append that was rolled back leaves a gap for ever, a slow
one leaves it for a while, and no clock can tell them apart.
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
"""The number of buckets into which streams are divided by the hash of their name; partitioned readers share them."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
"""The headers of an event that has none."""


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

    subject_key  the name of the key that encrypts personal data in `data`: to delete the key is to erase the data.
                 None if `data` holds no personal data.
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
        """Identify the event without showing its data."""
        return f"NewEvent(id={self.id}, type={self.type!r}, schema_version={self.schema_version})"


class RecordedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as it is stored. `recorded_at` is the database's time of the append, for display, never for order."""

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
    """The outcome of an append to one stream: its new version, and the positions of the appended events in order."""

    stream: str
    version: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a reader wants.

    categories     of the streams; all if empty.
    types          names of events, of any version; all if empty.
    partition      only streams whose bucket modulo `partitions` is this number.
    recorded_from, recorded_to  a time range for replays; the end is exclusive.
    """

    categories: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    partition: int = 0
    partitions: int = 1
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None

    def wants(self, recorded: RecordedEvent) -> bool:
        """Whether an event passes this filter."""
        return (
            (not self.types or recorded.event.type in self.types)
            and (not self.categories or category_of(recorded.stream) in self.categories)
            and (self.partitions == 1 or bucket_of(recorded.stream) % self.partitions == self.partition)
            and (self.recorded_from is None or recorded.recorded_at >= self.recorded_from)
            and (self.recorded_to is None or recorded.recorded_at < self.recorded_to)
        )


EVERYTHING: Final = EventFilter()


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order of position. No event at or below `end_position` is missing, so the next page begins there.

    `end_position` is at least the position of the last event; it is the reader's own `after` while the high-water mark
    has not risen.
    """

    events: tuple[RecordedEvent, ...]
    end_position: int


def checked_limit(limit: int) -> int:
    """Return the limit of a page. Raises `ValueError` for less than 1, which each engine would take in another way."""
    if limit < 1:
        raise ValueError("the limit of a page of events is at least 1")
    return limit


class EventStore(Protocol):
    """The store of a service's events, in its own database.

    An implementation keeps:

    1. The versions of a stream are 1, 2, 3 … without a gap. Of many writers that expect the same version one commits;
       each of the others gets `ConcurrencyConflict`, and nothing of the streams that it named is written.
    2. An append belongs to the transaction that is passed in, or is a transaction of its own in one round trip
       (`append_now`). A rollback or a cancellation leaves no event and releases the streams.
    3. Until the commit an event is seen by reads in its own transaction, and by no others.
    4. Writers of one stream take turns; transactions that name the same streams in different orders do not deadlock.
       Where the engine has several writers, writers of other streams do not wait.
    5. The global position of an event is greater than that of every event of its stream before it, and greater than
       that of every event that was committed before its append began. No two events have the same position; there may
       be gaps.
    6. `read_all` skips nothing: a page ends before the first position that a transaction in progress may still fill.
       It never waits for transactions that do not append, and never decides by time.
    7. `Page.end_position` is the position of a committed event, or where the reader began. It is never a position that
       was only drawn: after a crash the engine may draw that one again.
    8. A page holds at most `limit` events, in order of position, and exactly those that the filter wants. All events of
       a stream are in one partition of the filter.
    """

    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Add events to streams, all of them or none, in one round trip; a stream is named once.

        The streams stay locked from here to the commit; they are locked in a fixed order. Raises
        `ConcurrencyConflict` that names the stream, what was expected and what was found; the transaction can then only
        be rolled back.
        """

    async def append_now(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """As `append`, in a transaction of its own."""

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
        """Events of a stream with versions between `after` and `before`, both exclusive; the newest first if
        `backwards`. With a `db_tx` its own uncommitted appends are seen too. Raises `ValueError` for a limit below 1.
        """

    async def read_bodies(
        self, stream: str, *, after: int = 0, limit: int = 1000, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Body]:
        """As `read_stream` forwards, but only what a fold needs of each event, for long streams."""

    async def version(self, stream: str, *, db_tx: DatabaseTransaction | None = None) -> int:
        """The version of a stream; 0 if it has no event."""

    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        """The wanted events after a position, at most `limit`. Raises `ValueError` for a limit below 1."""

    async def high_water_mark(self) -> int:
        """The position at or below which no event can appear any more; 0 in an empty store. A reader that has reached
        it is up to date.

        After a commit has returned, the mark may be below its position only while another append that began before is
        still open.
        """

    async def count(
        self, after: int, through: int, event_filter: EventFilter = EVERYTHING, *, limit: int = 100_000
    ) -> int:
        """The number of wanted events after one position, through another; at most `limit`."""

    async def recorded_at(self, after: int, event_filter: EventFilter = EVERYTHING) -> datetime | None:
        """When the first wanted event after a position was recorded; None if there is none."""


EVENTS: Final[Port[EventStore]] = Port(
    "events", "event streams", EventStore, "freehold.conformance.events:EventStoreConformance"
)


def category_of(stream: str) -> str:
    """The category of a stream: its name up to the first '-'."""
    return stream.partition("-")[0]


@lru_cache(maxsize=8192)
def bucket_of(stream: str) -> int:
    """The bucket of a stream, the same in every process. Cached, because events of one stream often come together."""
    return stable_hash(stream) % BUCKETS


APPENDED: Final = Signal("appended", leased=True)
"""A commit appended events."""
