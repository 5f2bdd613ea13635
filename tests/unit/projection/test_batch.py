"""Batches: which checkpoints move how far, whichever way a batch is divided."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from freehold.conformance.harness import StoresHarness
from freehold.eventstore.store import EVERYTHING, Append, NewEvent, RecordedEvent, bucket_of
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
    moved = {move.seen.partition: move for move in first.moves(seen)}
    rest = second.moves({p: replace(seen[p], position=moved[p].position if p in moved else 0) for p in seen})
    assert sum(move.handled for move in [*moved.values(), *rest]) == len(events)


def test_passed_over_streams_do_not_count_and_failed_ones_count_so() -> None:
    events = [_event(1, "s-1"), _event(2, "s-2"), _event(3, "s-1")]
    (move,) = Batch(events, {0: 3}, 1).moves(_seen(0), passed_over={"s-1"})
    assert (move.handled, move.failed) == (1, 0)
    (move,) = Batch(events[1:2], {0: 2}, 1).moves(_seen(0), failed="s-2")
    assert (move.handled, move.failed) == (0, 1)


async def test_partitions_that_stand_apart_are_read_apart() -> None:
    """And none goes beyond its cap."""
    async with StoresHarness.on("memory://") as harness:
        store = harness.first.events
        streams = [f"s-{number}" for number in range(12)]
        for stream in streams:
            new = [NewEvent(new_id(), "a.b", 1, b"{}", new_id(), 1) for _ in range(2)]
            await store.append_alone([Append(stream, new)])
        head = await store.head()
        together = await read_batch(store, EVERYTHING, 2, _seen(0, 0), 100)
        assert (len(together.events), together.through) == (24, {0: head, 1: head})
        apart = await read_batch(store, EVERYTHING, 2, _seen(0, 6), 100)
        assert [event.position for event in apart.events] == sorted(event.position for event in apart.events)
        assert all(event.position > 6 for event in apart.events if bucket_of(event.stream) % 2 == 1)
        one = await read_batch(store, EVERYTHING, 2, {1: _seen(0, 0)[1]}, 100)
        assert {bucket_of(event.stream) % 2 for event in one.events} == {1}
        assert one.through == {1: head}
        capped = await read_batch(store, EVERYTHING, 2, _seen(0, 0), 100, {0: 5, 1: 5})
        assert (max(event.position for event in capped.events), capped.through) == (5, {0: 5, 1: 5})
        uneven = await read_batch(store, EVERYTHING, 2, _seen(0, 3), 100, {0: 7, 1: 3})
        assert uneven.through == {0: 7}
