"""The event store in memory. Adapter: imports the port and the memory database.

One transaction writes at a time, so positions are in the order of commit, and the highest committed one is the
high-water mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table, memory_transaction
from freehold.database import DatabaseTransaction
from freehold.eventstore.append import check_appends, conflict, is_met
from freehold.eventstore.store import (
    EVERYTHING,
    Append,
    AppendResult,
    Body,
    EventFilter,
    EventStore,
    Page,
    RecordedEvent,
    checked_limit,
)

__all__ = ["MemoryEventStore"]

_EVENTS: Final[Table[int, RecordedEvent]] = Table("events")
_STREAMS: Final[Table[tuple[str, int], RecordedEvent]] = Table("event_streams")
_VERSIONS: Final[Table[str, int]] = Table("event_versions")
_HEAD: Final[Table[str, int]] = Table("event_head")


class MemoryEventStore(EventStore):
    """Keeps events by position, and by stream and version."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Check the versions and add the events; no other transaction can write meanwhile."""
        check_appends(appends)
        memory = memory_transaction(db_tx)
        events, streams, versions = memory.rows(_EVENTS), memory.rows(_STREAMS), memory.rows(_VERSIONS)
        for each in appends:
            if not is_met(each, versions.get(each.stream) or 0):
                raise conflict(each, versions.get(each.stream) or 0)
        now, appended = self._database.now(), []
        for each in appends:
            version, positions = versions.get(each.stream) or 0, []
            for event in each.events:
                version, position = version + 1, memory.draw()
                recorded = RecordedEvent(position, each.stream, version, now, event)
                events.put(position, recorded)
                streams.put((each.stream, version), recorded)
                memory.rows(_HEAD).put("", position)
                positions.append(position)
            versions.put(each.stream, version)
            appended.append(AppendResult(each.stream, version, tuple(positions)))
        return appended

    async def append_now(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Append in a transaction of its own."""
        async with self._database.begin() as db_tx:
            return await self.append(db_tx, appends)

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
        """Read events of a stream, version by version."""
        last = await self.version(stream, db_tx=db_tx)
        end = last + 1 if before is None else min(before, last + 1)
        versions = range(max(after, 0) + 1, end)
        chosen = (versions[::-1] if backwards else versions)[: checked_limit(limit)]
        get: Callable[[tuple[str, int]], RecordedEvent | None]
        get = (
            (await self._database.read(_STREAMS)).get if db_tx is None else memory_transaction(db_tx).rows(_STREAMS).get
        )
        return [event for version in chosen if (event := get((stream, version))) is not None]

    async def read_bodies(
        self, stream: str, *, after: int = 0, limit: int = 1000, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Body]:
        """Read the bodies of a stream's events, version by version."""
        events = await self.read_stream(stream, after=after, limit=limit, db_tx=db_tx)
        return [(each.version, each.event.type, each.event.schema_version, each.event.data) for each in events]

    async def version(self, stream: str, *, db_tx: DatabaseTransaction | None = None) -> int:
        """The version of a stream."""
        if db_tx is not None:
            return memory_transaction(db_tx).rows(_VERSIONS).get(stream) or 0
        return (await self._database.read(_VERSIONS)).get(stream, 0)

    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        """Read a page, position by position."""
        checked_limit(limit)
        events, head = await self._database.read(_EVENTS), await self.high_water_mark()
        found: list[RecordedEvent] = []
        for event in _matching(events, after, head, event_filter):
            found.append(event)
            if len(found) == limit:
                return Page(tuple(found), event.position)
        return Page(tuple(found), max(after, head))

    async def high_water_mark(self) -> int:
        """The last position."""
        return (await self._database.read(_HEAD)).get("", 0)

    async def count(
        self, after: int, through: int, event_filter: EventFilter = EVERYTHING, *, limit: int = 100_000
    ) -> int:
        """The number of matching events."""
        events, head = await self._database.read(_EVENTS), await self.high_water_mark()
        found = _matching(events, after, min(through, head), event_filter)
        return sum(1 for _ in zip(range(limit), found, strict=False))

    async def recorded_at(self, after: int, event_filter: EventFilter = EVERYTHING) -> datetime | None:
        """The time of the first matching event behind a position."""
        events, head = await self._database.read(_EVENTS), await self.high_water_mark()
        first = next(_matching(events, after, head, event_filter), None)
        return None if first is None else first.recorded_at


def _matching(
    events: Mapping[int, RecordedEvent], after: int, through: int, event_filter: EventFilter
) -> Iterator[RecordedEvent]:
    """The matching events in order of position; the sequence has gaps."""
    for position in range(max(after, 0) + 1, through + 1):
        event = events.get(position)
        if event is not None and event_filter.wants(event):
            yield event
