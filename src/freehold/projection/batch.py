"""A batch of events on its way into a read model: read, decoded, applied.

Pattern: imports the ports, the transaction and its package. One page is read where the partitions are equally far, a
page of each where they are not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from freehold.eventstore.store import EventFilter, EventStore, Page, RecordedEvent, bucket_of
from freehold.lifecycle import contained
from freehold.messages.upcast import read_event
from freehold.projection.declaration import DecodedEvent, Projection, SinkEvent
from freehold.projection.store import Checkpoint, GenerationState, Move
from freehold.projection.tables import PlacedTables
from freehold.projection.write_context import TransactionProjectionContext
from freehold.transaction import Transaction

__all__ = ["Batch", "HandlerInvoker", "read_batch"]

_APART_MAX: Final = 8
"""Partitions that stand no further apart than so many batches are brought together, by reading what lies between them
once more: a page of each of them costs the database as much as a page of all, again and again.
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in order of position, and the position that each partition has reached with them."""

    events: Sequence[RecordedEvent]
    through: Mapping[int, int]
    partitions: int

    def moves(
        self, seen: Mapping[int, Checkpoint], *, passed_over: Collection[str] = (), failed: str | None = None
    ) -> list[Move]:
        """What the checkpoints do with it: streams that are `passed_over` do not count, a `failed` one counts so."""
        handled = dict.fromkeys(self.through, 0)
        failures = dict.fromkeys(self.through, 0)
        for event in self.events:
            if event.stream not in passed_over:
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
        """It as two, to be applied one after the other: the second reaches where the whole does."""
        middle = len(self.events) // 2
        first: dict[int, int] = {}
        for event in self.events[:middle]:
            first[self.partition_of(event)] = event.position
        return replace(self, events=self.events[:middle], through=first), replace(self, events=self.events[middle:])


class HandlerInvoker:
    """Puts events through a projection's handlers, in one generation."""

    def __init__(self, projection: Projection, service: str, generation: int, tables: PlacedTables) -> None:
        self.projection = projection
        self.generation = generation
        self.suppressed = 0
        """Side effects left out, because the generation is not live."""
        self._service = service
        self._tables = tables

    def decode(self, events: Sequence[RecordedEvent]) -> list[DecodedEvent]:
        """The events as the code knows them today, those that are handled. Raises `CodecError`, `UnknownMessage`."""
        handled = self.projection.handled
        return [
            (meant, recorded)
            for recorded in events
            for meant in read_event(recorded.event.type, recorded.event.schema_version, recorded.event.data)
            if type(meant) in handled
        ]

    def positioned(self, events: Sequence[RecordedEvent]) -> list[SinkEvent]:
        """The same for a sink."""
        changes: list[SinkEvent] = []
        for meant, recorded in self.decode(events):
            part = changes[-1].part + 1 if changes and changes[-1].position == recorded.position else 0
            changes.append(SinkEvent(recorded.position, part, meant, recorded))
        return changes

    async def apply(self, tx: Transaction, events: Sequence[RecordedEvent], state: GenerationState) -> None:
        """Apply events in a transaction that holds their checkpoints; through a sink that has to be done before."""
        if self.projection.sink is None:
            await self.apply_decoded(tx, self.decode(events), live=state is GenerationState.LIVE)

    async def apply_decoded(self, tx: Transaction, work: Sequence[DecodedEvent], *, live: bool) -> None:
        """Call the handlers. Raises whatever they do."""
        if not work:
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
                await self.projection.batch_handler(work, write)
            else:
                handlers = self.projection.handlers
                for event, recorded in work:
                    write.turn_to(recorded)
                    await handlers[type(event)](event, write)

    async def sink(self, events: Sequence[RecordedEvent]) -> None:
        """Write events to the sink, where there is one; before their checkpoint moves."""
        if self.projection.sink is not None:
            changes = self.positioned(events)
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
    """What follows the checkpoints, some partitions of `partitions`; not beyond the `caps`, where there are any.

    One read does where all partitions are here and stand close together, as they do once they have caught up: it goes
    on from the one that is furthest behind, and those that are ahead pass over what they have had.
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
    """A page of all partitions, without what the ones that are ahead have had."""
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
