"""The suite of the event store, second part: all events in one order, and nothing skipped. Needs pytest."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import cycle
from typing import Final
from uuid import UUID

import pytest

from freehold.broker import OutgoingMessage
from freehold.conformance.harness import StoresHarness
from freehold.eventstore.store import (
    EVENTS,
    EVERYTHING,
    Append,
    EventFilter,
    Expectation,
    ExpectedVersion,
    NewEvent,
    RecordedEvent,
    bucket_of,
    category_of,
)
from freehold.ids import new_id
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores

__all__ = ["EventOrderConformance", "add", "data_of", "follow", "is_wanted", "new_event"]

_CORRELATION: Final = UUID(int=7)
_FILTERS: Final = {
    "type": EventFilter(types=frozenset({"a.one"})),
    "types": EventFilter(types=frozenset({"a.one", "a.two", "a.never"})),
    "hundreds of types": EventFilter(types=frozenset({"a.two", *(f"a.{number}" for number in range(600))})),
    "hundreds of both": EventFilter(
        frozenset({"cart", *(f"c{number}" for number in range(600))}),
        frozenset({"a.two", *(f"a.{number}" for number in range(600))}),
    ),
    "no type": EventFilter(types=frozenset({"a.never"})),
    "category": EventFilter(categories=frozenset({"cart"})),
    "categories": EventFilter(categories=frozenset({"cart", "order", "none"})),
    "first partition": EventFilter(partition=0, partitions=3),
    "last partition": EventFilter(partition=2, partitions=3),
    "all": EventFilter(frozenset({"order"}), frozenset({"a.one", "a.two"}), partition=1, partitions=2),
    "category and partition": EventFilter(categories=frozenset({"order"}), partition=0, partitions=2),
}


class _TakenBack(Exception):
    """Ends a transaction with a rollback."""


def new_event(data: bytes = b"{}", type: str = "a.one") -> NewEvent:
    """An event to append."""
    return NewEvent(id=new_id(), type=type, schema_version=1, data=data, correlation_id=_CORRELATION, hlc=1)


async def add(
    stores: Stores, stream: str, *events: NewEvent, expected: ExpectedVersion = Expectation.ANY
) -> tuple[int, ...]:
    """Append to one stream in a transaction of its own; returns the positions."""
    (appended,) = await stores[EVENTS].append_now([Append(stream, events or (new_event(),), expected)])
    return appended.positions


async def follow(
    stores: Stores, after: int = 0, wanted: EventFilter = EVERYTHING, *, limit: int = 1000
) -> list[RecordedEvent]:
    """All matching events behind a position, page by page, up to the high-water mark."""
    found: list[RecordedEvent] = []
    head = await stores[EVENTS].high_water_mark()
    while after < head:
        page = await stores[EVENTS].read_all(after, limit=limit, event_filter=wanted)
        assert page.end_position > after
        assert len(page.events) <= limit
        assert all(after < each.position <= page.end_position for each in page.events)
        found += page.events
        after = page.end_position
    return found


def data_of(events: Sequence[RecordedEvent]) -> list[bytes]:
    """The payloads, in order."""
    return [each.event.data for each in events]


def is_wanted(event: RecordedEvent, wanted: EventFilter) -> bool:
    """Whether an event matches a filter, as the port defines it."""
    return (
        (not wanted.types or event.event.type in wanted.types)
        and (not wanted.categories or category_of(event.stream) in wanted.categories)
        and bucket_of(event.stream) % wanted.partitions == wanted.partition
        and (wanted.recorded_from is None or event.recorded_at >= wanted.recorded_from)
        and (wanted.recorded_to is None or event.recorded_at < wanted.recorded_to)
    )


async def _fill(harness: StoresHarness) -> list[RecordedEvent]:
    """Add forty events: three types, nine streams, three categories, a second apart; the clock is set back once."""
    streams = cycle(f"{category}-{number}" for number in range(3) for category in ("order", "cart", "visit"))
    for number, stream in zip(range(40), streams, strict=False):
        await add(harness.first, stream, new_event(str(number).encode(), f"a.{('one', 'two', 'three')[number % 3]}"))
        harness.clock.advance(-8 if number == 25 else 1)
    return await follow(harness.first)


async def _check(stores: Stores, everything: Sequence[RecordedEvent], wanted: EventFilter) -> None:
    expected = [each for each in everything if is_wanted(each, wanted)]
    for limit in (1, 4, 1000):
        assert await follow(stores, 0, wanted, limit=limit) == expected
    middle, last = everything[17].position, everything[-1].position
    later = [each for each in expected if each.position > middle]
    assert await follow(stores, middle, wanted) == later
    assert await stores[EVENTS].count(middle, last, wanted) == len(later)
    assert await stores[EVENTS].count(0, middle, wanted) == len(expected) - len(later)
    assert await stores[EVENTS].count(0, last, wanted, limit=2) == min(2, len(expected))
    assert await stores[EVENTS].recorded_at(middle, wanted) == (later[0].recorded_at if later else None)


class EventOrderConformance:
    """How every event store must order its events."""

    async def test_all_events_are_read_in_order_page_by_page(self, harness: StoresHarness) -> None:
        """From any position; `through` is the position to continue at, and at the end the reader's own position."""
        stores = harness.first
        everything = await _fill(harness)
        assert data_of(everything) == [str(number).encode() for number in range(40)]
        assert await follow(stores, limit=7) == everything
        page = await stores[EVENTS].read_all(everything[9].position, limit=5)
        assert page.events == tuple(everything[10:15])
        assert page.end_position == everything[14].position
        head = await stores[EVENTS].high_water_mark()
        assert head == everything[-1].position
        assert await stores[EVENTS].read_all(head) == type(page)((), head)
        assert await stores[EVENTS].read_all(head + 100) == type(page)((), head + 100)

    async def test_an_empty_store_is_read_as_well(self, harness: StoresHarness) -> None:
        """It has no high-water mark, no events and no time."""
        events = harness.first[EVENTS]
        assert await events.high_water_mark() == 0
        assert (await events.read_all(0)).end_position == 0
        assert await events.read_stream("order-1") == []
        assert await events.version("order-1") == 0
        assert await events.count(0, 100) == 0
        assert await events.recorded_at(0) is None

    @pytest.mark.parametrize("wanted", _FILTERS)
    async def test_a_filter_gives_what_is_wanted(self, harness: StoresHarness, wanted: str) -> None:
        """By type, category, partition, and combinations: exactly the matching events, with any page length."""
        await _check(harness.first, await _fill(harness), _FILTERS[wanted])

    @pytest.mark.parametrize(("since", "until"), [(10, None), (None, 12), (20, 27), (500, None), (None, -5)])
    async def test_a_span_of_time_gives_what_is_wanted(
        self, harness: StoresHarness, since: int | None, until: int | None
    ) -> None:
        """From (inclusive) to (exclusive), also where the clock was set back in between."""
        begin = harness.clock.now()
        everything = await _fill(harness)

        def at(seconds: int | None) -> datetime | None:
            return None if seconds is None else begin + timedelta(seconds=seconds)

        await _check(harness.first, everything, EventFilter(recorded_from=at(since), recorded_to=at(until)))
        typed = EventFilter(types=frozenset({"a.two"}), recorded_from=at(since), recorded_to=at(until))
        await _check(harness.first, everything, typed)

    async def test_partitions_share_the_streams(self, harness: StoresHarness) -> None:
        """Every event is in one partition, and all events of a stream are in the same one."""
        everything = await _fill(harness)
        shares = [await follow(harness.first, 0, EventFilter(partition=n, partitions=4)) for n in range(4)]
        assert sorted((each for share in shares for each in share), key=lambda each: each.position) == everything
        streams = [{each.stream for each in share} for share in shares]
        assert sum(len(share) for share in streams) == len(set[str]().union(*streams))

    async def test_an_append_after_a_commit_has_greater_positions(self, harness: StoresHarness) -> None:
        """Over all streams and instances."""
        stores, other = harness.first, await harness.instance()
        highest = 0
        for turn in range(20):
            positions = await add((stores, other)[turn % 2], f"order-{turn % 3}", new_event(), new_event())
            assert highest < positions[0] < positions[1]
            highest = positions[1]
            assert await stores[EVENTS].high_water_mark() == highest

    async def test_a_rolled_back_append_holds_nobody_up(self, harness: StoresHarness) -> None:
        """The positions that it drew are only a gap."""
        stores = harness.first
        before = await add(stores, "order-1")
        with pytest.raises(_TakenBack):
            async with stores.database.begin() as db_tx:
                await stores[EVENTS].append(db_tx, [Append("order-2", [new_event() for _ in range(50)])])
                raise _TakenBack
        assert await stores[EVENTS].high_water_mark() == before[0]
        assert (await stores[EVENTS].read_all(0)).end_position == before[0]
        after = await add(stores, "order-3")
        assert [each.position for each in await follow(stores)] == [*before, *after]

    async def test_what_is_not_committed_is_not_passed_over(self, harness: StoresHarness) -> None:
        """Readers stop before an open append; after its end they read its events and all later ones."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        stores, other = harness.first, await harness.instance()
        before = await add(stores, "order-1", new_event(b"before"))
        async with stores.database.begin() as slow:
            await stores[EVENTS].append(slow, [Append("order-2", [new_event(b"slow")])])
            await add(other, "order-3", new_event(b"quick"))
            page = await other[EVENTS].read_all(0)
            assert data_of(page.events) == [b"before"]
            assert page.end_position == before[0] == await other[EVENTS].high_water_mark()
        assert data_of(await follow(other, page.end_position)) == [b"slow", b"quick"]

    async def test_a_slow_append_that_is_rolled_back_hides_nothing(self, harness: StoresHarness) -> None:
        """Later events are read when it has ended."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        stores = harness.first
        with pytest.raises(_TakenBack):
            async with stores.database.begin() as slow:
                await stores[EVENTS].append(slow, [Append("order-2", [new_event(b"slow")])])
                await add(stores, "order-3", new_event(b"quick"))
                assert (await stores[EVENTS].read_all(0)).events == ()
                raise _TakenBack
        assert data_of(await follow(stores)) == [b"quick"]

    async def test_transactions_that_do_not_append_hold_nobody_up(self, harness: StoresHarness) -> None:
        """Idle transactions, and those that write other tables, however long they stay open."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        stores = harness.first
        async with stores.database.begin() as writing, stores.database.begin():
            message = OutgoingMessage(id=new_id(), topic="orders.events", key="k", document=b"{}")
            await stores[OUTBOX].stage(writing, [message])
            await add(stores, "order-1", new_event(b"seen"))
            assert data_of((await stores[EVENTS].read_all(0)).events) == [b"seen"]

    async def test_a_reader_skips_nothing_while_many_write(self, harness: StoresHarness) -> None:
        """Writers overlap, some are slow, some roll back: readers get all committed events, each stream in order."""
        stores, other = harness.first, await harness.instance()
        committed: set[UUID] = set()

        async def write(writer: Stores, task: int) -> None:
            for turn in range(12):
                appends = [Append(f"order-{n}", [new_event(), new_event()]) for n in {task % 4, turn % 4}]
                try:
                    async with writer.database.begin() as db_tx:
                        await writer[EVENTS].append(db_tx, appends)
                        for _ in range(20 if turn % 5 == 0 else 0):
                            await writer[EVENTS].version("order-0", db_tx=db_tx)
                        if turn % 7 == 3:
                            raise _TakenBack
                except _TakenBack:
                    continue
                committed.update(event.id for each in appends for event in each.events)

        async def read(reader: Stores, writers: asyncio.Task[object]) -> list[RecordedEvent]:
            seen: list[RecordedEvent] = []
            after = 0
            while not writers.done():
                page = await reader[EVENTS].read_all(after, limit=20)
                seen += page.events
                after = page.end_position
                await asyncio.wait({writers}, timeout=0 if page.events else 0.005)
            return seen + await follow(reader, after)

        writers = asyncio.ensure_future(asyncio.gather(*(write((stores, other)[task % 2], task) for task in range(6))))
        for seen in await asyncio.gather(*(read(reader, writers) for reader in (stores, other, stores))):  # type: ignore[arg-type]  # it awaits a future of a list
            versions: dict[str, int] = defaultdict(int)
            for each in seen:
                versions[each.stream] += 1
                assert each.version == versions[each.stream]
            assert [each.position for each in seen] == sorted({each.position for each in seen})
            assert {each.event.id for each in seen} == committed
