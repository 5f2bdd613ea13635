"""The event store port. Pattern: imports the foundation and the database port.

A **stream** is the history of one thing, named `category-id`. Every event has a **global position** as well. Where
several transactions write at once, positions are drawn in one order and committed in another. A reader of all events
that continues from the last position it saw would skip a slow append:

    t1  A appends to one stream: draws position 17, and stays open
    t2  B appends to another stream: draws position 18, and commits
    t3  a reader that has come to 16 asks for what follows: 18 can be seen, 17 cannot
    t4  A commits 17; a reader that had continued from 18 would never see it

So the page of t3 is empty and ends at 16, and the next page, after t4, has both. What A may still draw is known from
its transaction, not from a time that has passed: a rolled-back append leaves a gap for ever, a slow one for a while,
and no clock tells them apart.
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
    """Events in order of position, and `end_position`, through which nothing is missing: the next page begins there.

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
    7. `Page.end_position` is the position of a committed event, never a number that was only drawn, for a crash may
       take those back; where nothing new is settled it is where the reader began.
    8. A page holds `limit` events at most, in order of position, and of those exactly what the filter wants. A stream
       lies as a whole in one partition of the filter.
    """

    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Add events to streams, all of them or none, in one round trip; a stream is named once.

        The streams stay locked from here to the commit; they are locked in a fixed order. Raises
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
        """The events after a position that are wanted, `limit` at most.

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
