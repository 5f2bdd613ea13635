"""Events on their way into a read model: decoded, applied. Imports the ports, the transaction and its package."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from freehold.eventstore.store import EventFilter, RecordedEvent, bucket_of
from freehold.lifecycle import contained
from freehold.messages.upcasting import read_event
from freehold.projection.declaration import Applied, Positioned, Projection
from freehold.projection.store import Checkpoint, GenerationState, Move
from freehold.projection.write import TransactionWrite
from freehold.transaction import Transaction

__all__ = ["Applier", "Batch", "wanted_by"]


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


def wanted_by(projection: Projection) -> EventFilter:
    """The events that a projection follows, of all its partitions."""
    return EventFilter(categories=frozenset(projection.categories), types=projection.types)


class Applier:
    """Puts events through a projection's handlers, in one generation."""

    def __init__(self, projection: Projection, service: str, generation: int) -> None:
        self.projection = projection
        self.generation = generation
        self.gated = 0
        """Side effects left out, because the generation is not live."""
        self._service = service

    def decode(self, events: Sequence[RecordedEvent]) -> list[Applied]:
        """The events as the code knows them today, those that are handled. Raises `CodecError`, `UnknownMessage`."""
        handled = self.projection.handled
        return [
            (meant, recorded)
            for recorded in events
            for meant in read_event(recorded.event.type, recorded.event.schema_version, recorded.event.data)
            if type(meant) in handled
        ]

    def positioned(self, events: Sequence[RecordedEvent]) -> list[Positioned]:
        """The same for a sink."""
        changes: list[Positioned] = []
        for meant, recorded in self.decode(events):
            part = changes[-1].part + 1 if changes and changes[-1].position == recorded.position else 0
            changes.append(Positioned(recorded.position, part, meant, recorded))
        return changes

    async def apply(self, tx: Transaction, events: Sequence[RecordedEvent], state: GenerationState) -> None:
        """Apply events in a transaction that holds their checkpoints; through a sink that has to be done before."""
        if self.projection.sink is None:
            await self.apply_decoded(tx, self.decode(events), live=state is GenerationState.LIVE)

    async def apply_decoded(self, tx: Transaction, work: Sequence[Applied], *, live: bool) -> None:
        """Call the handlers. Raises whatever they do."""
        if not work:
            return
        write = TransactionWrite(
            tx, self.projection, self._service, generation=self.generation, live=live, on_gated=self._count_gated
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

    def _count_gated(self) -> None:
        self.gated += 1
