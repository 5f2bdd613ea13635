"""A batch of events: read from the event store, decoded, and given to the handlers.

Pattern: imports the ports, the transaction and its package. One page is read for all partitions if their checkpoints
are close together, and one page for each if they are not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from freehold.eventstore.store import EventFilter, EventStore, Page, RecordedEvent, bucket_of
from freehold.messages.upcast import read_event
from freehold.projection.declaration import DecodedEvent, Projection, SinkEvent
from freehold.projection.store import Checkpoint, GenerationState, Move
from freehold.projection.tables import PlacedTables
from freehold.projection.write_context import TransactionProjectionContext
from freehold.tasks import contained
from freehold.transaction import Transaction

__all__ = ["Batch", "HandlerInvoker", "read_batch"]

_APART_MAX: Final = 8
"""The most batches between the checkpoints of partitions that are read together. The events between them are read once
more then; but a page for each partition would cost as much as a page for all, each time.
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in order of position, and the position that each partition has reached with them."""

    events: Sequence[RecordedEvent]
    through: Mapping[int, int]
    partitions: int

    def moves(
        self, seen: Mapping[int, Checkpoint], *, parked: Collection[str] = (), failed: str | None = None
    ) -> list[Move]:
        """The moves of the checkpoints. Events of `parked` streams do not count, those of `failed` count as failed."""
        handled = dict.fromkeys(self.through, 0)
        failures = dict.fromkeys(self.through, 0)
        for event in self.events:
            if event.stream not in parked:
                counts = failures if event.stream == failed else handled
                counts[self.partition_of(event)] += 1
        return [
            Move(seen[partition], through, handled=handled[partition], failed=failures[partition])
            for partition, through in sorted(self.through.items())
        ]

    def partition_of(self, event: RecordedEvent) -> int:
        """The partition that an event belongs to."""
        return bucket_of(event.stream) % self.partitions

    def halves(self) -> tuple[Batch, Batch]:
        """The batch as two, to be applied one after the other; the second ends where the whole does."""
        middle = len(self.events) // 2
        first: dict[int, int] = {}
        for event in self.events[:middle]:
            first[self.partition_of(event)] = event.position
        return replace(self, events=self.events[:middle], through=first), replace(self, events=self.events[middle:])


class HandlerInvoker:
    """Calls a projection's handlers for events, in one generation."""

    def __init__(self, projection: Projection, service: str, generation: int, tables: PlacedTables) -> None:
        self.projection = projection
        self.generation = generation
        self.suppressed = 0
        """How many side effects were suppressed, because the generation is not live."""
        self._service = service
        self._tables = tables

    def decode(self, events: Sequence[RecordedEvent]) -> list[DecodedEvent]:
        """Decode and upcast events, and return those that are handled. Raises `CodecError`, `UnknownMessage`."""
        handled = self.projection.handled
        return [
            (event, recorded)
            for recorded in events
            for event in read_event(recorded.event.type, recorded.event.schema_version, recorded.event.data)
            if type(event) in handled
        ]

    def sink_events(self, events: Sequence[RecordedEvent]) -> list[SinkEvent]:
        """Decode events for a sink, as `decode`."""
        changes: list[SinkEvent] = []
        for event, recorded in self.decode(events):
            part = changes[-1].part + 1 if changes and changes[-1].position == recorded.position else 0
            changes.append(SinkEvent(recorded.position, part, event, recorded))
        return changes

    async def apply(self, tx: Transaction, events: Sequence[RecordedEvent], state: GenerationState) -> None:
        """Apply events in a transaction that holds their checkpoints. Does nothing for a sink: see `sink`."""
        if self.projection.sink is None:
            await self.apply_decoded(tx, self.decode(events), live=state is GenerationState.LIVE)

    async def apply_decoded(self, tx: Transaction, events: Sequence[DecodedEvent], *, live: bool) -> None:
        """Call the handlers. Raises what they raise."""
        if not events:
            return
        write = TransactionProjectionContext(
            tx,
            self.projection,
            self._service,
            self._tables,
            generation=self.generation,
            live=live,
            on_suppressed=self._count_suppressed,
        )
        with contained():
            if self.projection.batch_handler is not None:
                await self.projection.batch_handler(events, write)
            else:
                handlers = self.projection.handlers
                for event, recorded in events:
                    write.move_to(recorded)
                    await handlers[type(event)](event, write)

    async def sink(self, events: Sequence[RecordedEvent]) -> None:
        """Write events to the sink, if there is one. To be called before their checkpoint moves."""
        if self.projection.sink is not None:
            changes = self.sink_events(events)
            if changes:
                with contained():
                    await self.projection.sink.write(self.generation, changes)

    def _count_suppressed(self) -> None:
        self.suppressed += 1


async def read_batch(
    store: EventStore,
    event_filter: EventFilter,
    partitions: int,
    seen: Mapping[int, Checkpoint],
    limit: int,
    caps: Mapping[int, int] | None = None,
) -> Batch:
    """Read the next events after some checkpoints of a generation with so many `partitions`, but none after the `caps`.

    One read is enough if all partitions are held here and are close together, as they are once they have caught up: it
    starts at the lowest checkpoint, and leaves out the events that the others have handled.
    """
    positions = [each.position for each in seen.values()]
    after = min(positions)
    alike = len(seen) == partitions and (caps is None or len(set(caps.values())) == 1)
    if alike and max(positions) - after <= _APART_MAX * limit:
        cap = None if caps is None else next(iter(caps.values()))
        return _together(
            _capped(await store.read_all(after, limit=limit, event_filter=event_filter), cap), partitions, seen
        )
    pages = {}
    share = max(1, limit // max(1, len(seen)))
    for partition, checkpoint in seen.items():
        cap = None if caps is None else caps[partition]
        if cap is not None and cap <= checkpoint.position:
            continue
        mine = replace(event_filter, partition=partition, partitions=partitions)
        pages[partition] = _capped(await store.read_all(checkpoint.position, limit=share, event_filter=mine), cap)
    events = sorted(chain.from_iterable(page.events for page in pages.values()), key=lambda event: event.position)
    through = {p: page.end_position for p, page in pages.items() if page.end_position > seen[p].position}
    return Batch(events, through, partitions)


def _together(page: Page, partitions: int, seen: Mapping[int, Checkpoint]) -> Batch:
    """The batch of a page of all partitions, without events that some of them have handled."""
    ahead = max(each.position for each in seen.values())
    events = [
        event
        for event in page.events
        if event.position > ahead or event.position > seen[bucket_of(event.stream) % partitions].position
    ]
    through = {p: page.end_position for p, each in seen.items() if page.end_position > each.position}
    return Batch(events, through, partitions)


def _capped(page: Page, cap: int | None) -> Page:
    if cap is None or page.end_position <= cap:
        return page
    return Page(tuple(event for event in page.events if event.position <= cap), cap)
