"""Batches: which checkpoints move how far, whichever way a batch is divided."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.events import MemoryEventStore
from freehold.conformance.harness import StoresHarness
from freehold.eventstore.store import EVENTS, EVERYTHING, Append, EventFilter, NewEvent, Page, RecordedEvent, bucket_of
from freehold.ids import new_id
from freehold.projection.batch import Batch, read_batch
from freehold.projection.store import Checkpoint, GenerationState

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _event(position: int, stream: str) -> RecordedEvent:
    return RecordedEvent(position, stream, position, _NOW, NewEvent(new_id(), "a.b", 1, b"{}", new_id(), 1))


def _seen(*positions: int) -> dict[int, Checkpoint]:
    return {
        partition: Checkpoint("p", 1, partition, position, GenerationState.LIVE, 0, 0, 0, _NOW)
        for partition, position in enumerate(positions)
    }


def test_halves_reach_where_the_whole_does() -> None:
    events = [_event(position, f"s-{position % 5}") for position in range(1, 10)]
    whole = Batch(events, {0: 12, 1: 12}, 2)
    seen = _seen(0, 0)
    first, second = whole.halves()
    assert [*first.events, *second.events] == events
    assert second.through == whole.through
    for partition, position in first.through.items():
        assert position == max(event.position for event in first.events if whole.partition_of(event) == partition)
    moved = {move.expected.partition: move for move in first.moves(seen)}
    rest = second.moves({p: replace(seen[p], position=moved[p].position if p in moved else 0) for p in seen})
    assert sum(move.handled for move in [*moved.values(), *rest]) == len(events)


def test_passed_over_streams_do_not_count_and_failed_ones_count_so() -> None:
    events = [_event(1, "s-1"), _event(2, "s-2"), _event(3, "s-1")]
    (move,) = Batch(events, {0: 3}, 1).moves(_seen(0), parked={"s-1"})
    assert (move.handled, move.failed) == (1, 0)
    (move,) = Batch(events[1:2], {0: 2}, 1).moves(_seen(0), failed="s-2")
    assert (move.handled, move.failed) == (0, 1)


async def test_partitions_that_stand_apart_are_read_apart() -> None:
    """And none goes beyond its cap."""
    async with StoresHarness.on("memory://") as harness:
        store = harness.first[EVENTS]
        streams = [f"s-{number}" for number in range(12)]
        for stream in streams:
            new = [NewEvent(new_id(), "a.b", 1, b"{}", new_id(), 1) for _ in range(2)]
            await store.append_now([Append(stream, new)])
        head = await store.high_water_mark()
        together = await read_batch(store, EVERYTHING, 2, _seen(0, 0), 100)
        assert (len(together.events), together.through) == (24, {0: head, 1: head})
        apart = await read_batch(store, EVERYTHING, 2, _seen(0, 20), 2)
        assert [event.position for event in apart.events] == sorted(event.position for event in apart.events)
        assert {bucket_of(event.stream) % 2 for event in apart.events} == {0, 1}
        one = await read_batch(store, EVERYTHING, 2, {1: _seen(0, 0)[1]}, 100)
        assert {bucket_of(event.stream) % 2 for event in one.events} == {1}
        assert one.through == {1: head}
        capped = await read_batch(store, EVERYTHING, 2, _seen(0, 0), 100, {0: 5, 1: 5})
        assert (max(event.position for event in capped.events), capped.through) == (5, {0: 5, 1: 5})
        uneven = await read_batch(store, EVERYTHING, 2, _seen(0, 3), 100, {0: 7, 1: 3})
        assert uneven.through == {0: 7}


class _CountedReads(MemoryEventStore):
    """Counts what is read, and by which partitions."""

    reads: int = 0

    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        self.reads += 1
        return await super().read_all(after, limit=limit, event_filter=event_filter)


async def test_partitions_that_stand_close_together_are_brought_together_in_one_read() -> None:
    """None has an event twice, none misses one, and from then on one page does for all of them."""
    async with StoresHarness.on("memory://") as harness:
        database = harness.first.database
        assert isinstance(database, MemoryDatabase)
        store = _CountedReads(database)
        for number in range(60):
            await store.append_now([Append(f"s-{number}", [NewEvent(new_id(), "a.b", 1, b"{}", new_id(), 1)])])
        seen, had = _seen(3, 0, 25, 7), {0: 3, 1: 0, 2: 25, 3: 7}
        for number in range(1, 7):
            batch = await read_batch(store, EVERYTHING, 4, seen, 10)
            assert store.reads == number
            for event in batch.events:
                partition = batch.partition_of(event)
                assert had[partition] < event.position <= batch.through[partition]
                had[partition] = event.position
            assert [e.position for e in batch.events] == sorted(e.position for e in batch.events)
            seen = {p: replace(each, position=batch.through.get(p, each.position)) for p, each in seen.items()}
        assert {each.position for each in seen.values()} == {60}
        last = {p: max(n for n in range(1, 61) if bucket_of(f"s-{n - 1}") % 4 == p) for p in range(4)}
        assert had == last
