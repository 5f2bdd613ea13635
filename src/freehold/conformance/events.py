"""The suite of the event store port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

import pytest
from msgspec.structs import replace

from freehold.broker import OutgoingMessage
from freehold.conformance.events_order import EventOrderConformance, add, data_of, new_event
from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.errors import ConcurrencyConflict, DeclarationError, InvalidValue
from freehold.eventstore.store import EVENTS, Append, Expectation, ExpectedVersion, NewEvent
from freehold.ids import new_id
from freehold.outbox.store import OUTBOX

__all__ = ["EventStoreConformance"]

_EXPECTED: Final = {
    Expectation.ANY: (True, True),
    Expectation.NO_STREAM: (True, False),
    Expectation.STREAM_EXISTS: (False, True),
    0: (True, False),
    1: (False, False),
    2: (False, True),
    3: (False, False),
}
"""Whether an append is allowed: on an empty stream, and on one with two events."""


class EventStoreConformance(EventOrderConformance):
    """What every event store must do: appends and streams here, the order over all streams in the base class."""

    async def test_a_stream_has_a_name_that_every_engine_keeps(self, harness: StoresHarness) -> None:
        """All engines refuse the same names, so that events can be moved to another engine."""
        store = harness.first[EVENTS]
        for name in ("a\x00b", "a\nb", "\ud800", "x" * 513):
            with pytest.raises(InvalidValue, match="stream"):
                await store.append_now([Append(name, [new_event(b"")])])
        await store.append_now([Append("ä" * 256, [new_event(b"")])])
        assert await store.version("ä" * 256) == 1

    async def test_what_is_appended_is_read_as_it_was_given(self, harness: StoresHarness) -> None:
        """Every field, with any bytes."""
        store = harness.first[EVENTS]
        event = NewEvent(
            id=new_id(),
            type="orders.order-placed",
            schema_version=3,
            data=b"\x00\xff{not json %(p1)s $1 ?1",
            correlation_id=new_id(),
            hlc=2**62 + 1,
            causation_id=new_id(),
            trace_parent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            subject_key="customer/ä",
            headers={"a": "1", "ä'$1;--": '"\x00'},
        )
        bare = new_event(b"")
        (appended,) = await store.append_now([Append("order-ä'$1;--", [event, bare])])
        first, second = await store.read_stream("order-ä'$1;--")
        assert (first.event, second.event) == (event, bare)
        ids = (first.event.id, first.event.correlation_id, first.event.causation_id)
        assert {type(each) for each in ids} == {UUID}  # not the drivers' subclasses, which some codecs refuse
        assert (first.stream, first.version, second.version) == ("order-ä'$1;--", 1, 2)
        assert appended.positions == (first.position, second.position)
        assert appended.version == 2
        assert first.recorded_at == harness.clock.now()
        assert (await store.read_all(0)).events == (first, second)

    async def test_large_payloads_come_back_whole(self, harness: StoresHarness) -> None:
        """A megabyte of bytes that are not text."""
        data = bytes(range(256)) * 4096
        await add(harness.first, "order-1", new_event(data))
        assert data_of(await harness.first[EVENTS].read_stream("order-1")) == [data]

    @pytest.mark.parametrize("expected", _EXPECTED, ids=str)
    async def test_what_is_expected_is_checked(self, harness: StoresHarness, expected: ExpectedVersion) -> None:
        """Any, no stream, stream exists, an exact version; a conflict names stream, version and expectation."""
        stores = harness.first
        await add(stores, "order-two", new_event(), new_event())
        for stream, version, allowed in zip(("order-none", "order-two"), (0, 2), _EXPECTED[expected], strict=True):
            if allowed:
                await add(stores, stream, expected=expected)
            else:
                with pytest.raises(ConcurrencyConflict, match=f"'{stream}' is at version {version}.*{expected} was"):
                    await add(stores, stream, expected=expected)
            assert await stores[EVENTS].version(stream) == version + allowed

    async def test_several_streams_are_appended_together(self, harness: StoresHarness) -> None:
        """In one call, in the given order; each stream has its own versions, and later calls continue them."""
        stores = harness.first
        async with stores.database.begin() as db_tx:
            first = await stores[EVENTS].append(
                db_tx,
                [
                    Append("order-1", [new_event(b"1"), new_event(b"2")], 0),
                    Append("cart-1", [new_event(b"3")], Expectation.NO_STREAM),
                ],
            )
            second = await stores[EVENTS].append(db_tx, [Append("order-1", [new_event(b"4")], 2)])
            assert not await stores[EVENTS].append(db_tx, [])
        assert [(each.stream, each.version, len(each.positions)) for each in (*first, *second)] == [
            ("order-1", 2, 2),
            ("cart-1", 1, 1),
            ("order-1", 3, 1),
        ]
        found = (await stores[EVENTS].read_all(0)).events
        assert data_of(found) == [b"1", b"2", b"3", b"4"]
        assert [each.position for each in found] == [
            position for each in (*first, *second) for position in each.positions
        ]

    async def test_a_conflict_takes_all_streams_back(self, harness: StoresHarness) -> None:
        """Also the streams without a conflict, in any order."""
        stores = harness.first
        await add(stores, "order-1")
        for appends in (
            [Append("order-2", [new_event()]), Append("order-1", [new_event()], 0)],
            [Append("order-1", [new_event()], Expectation.NO_STREAM), Append("order-2", [new_event()])],
        ):
            with pytest.raises(ConcurrencyConflict, match="'order-1'"):
                async with stores.database.begin() as db_tx:
                    await stores[EVENTS].append(db_tx, appends)
            with pytest.raises(ConcurrencyConflict, match="'order-1'"):
                await stores[EVENTS].append_now(appends)
        assert await stores[EVENTS].version("order-2") == 0
        assert await stores[EVENTS].version("order-1") == 1

    async def test_an_append_that_makes_no_sense_is_refused(self, harness: StoresHarness) -> None:
        """A stream that is named twice or has no name, or an append without events."""
        for appends in (
            [Append("order-1", [new_event()]), Append("order-1", [new_event()])],
            [Append("", [new_event()])],
            [Append("order-1", [])],
        ):
            with pytest.raises(DeclarationError):
                await harness.first[EVENTS].append_now(appends)
        assert await harness.first[EVENTS].high_water_mark() == 0

    async def test_an_appends_rollback_leaves_nothing(self, harness: StoresHarness) -> None:
        """Events, staged messages and versions are committed together or not at all."""
        stores = harness.first

        async def work(*, fails: bool) -> None:
            async with stores.database.begin() as db_tx:
                await stores[EVENTS].append(db_tx, [Append("order-1", [new_event()], 0)])
                message = OutgoingMessage(id=new_id(), topic="orders.events", key="k", document=b"{}")
                await stores[OUTBOX].stage(db_tx, [message])
                if fails:
                    _ = 1 / 0

        with pytest.raises(ZeroDivisionError):
            await work(fails=True)
        assert await stores[EVENTS].version("order-1") == 0
        assert (await stores[OUTBOX].stats()).pending == 0
        await work(fails=False)
        assert await stores[EVENTS].version("order-1") == 1
        assert (await stores[OUTBOX].stats()).pending == 1

    async def test_a_cancelled_append_leaves_nothing(self, harness: StoresHarness) -> None:
        """After a cancellation inside the block it is rolled back, and blocks neither writers nor readers."""
        stores = harness.first
        appended = asyncio.Event()

        async def work() -> None:
            async with stores.database.begin() as db_tx:
                await stores[EVENTS].append(db_tx, [Append("order-1", [new_event()])])
                appended.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.wait_for(appended.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await add(stores, "order-1", new_event(b"after"), expected=0)
        assert data_of((await stores[EVENTS].read_all(0)).events) == [b"after"]

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_page_of_nothing_is_refused(self, harness: StoresHarness, limit: int) -> None:
        """A limit of 0 would look like the end, and there must be a limit."""
        events = harness.first[EVENTS]
        await add(harness.first, "order-1", new_event(b"1"))
        for reading in (
            events.read_all(0, limit=limit),
            events.read_stream("order-1", limit=limit),
            events.read_bodies("order-1", limit=limit),
        ):
            with pytest.raises(ValueError, match="at least 1"):
                await reading

    async def test_a_stream_is_read_both_ways_within_bounds(self, harness: StoresHarness) -> None:
        """`after` and `before` are exclusive; `backwards` returns the newest first; at most the limit."""
        stores = harness.first
        await add(stores, "order-1", *(new_event(str(number).encode()) for number in range(1, 11)))
        await add(stores, "order-10", new_event(b"another"))
        read = stores[EVENTS].read_stream

        def numbers(first: int, last: int) -> list[bytes]:
            step = 1 if last >= first else -1
            return [str(number).encode() for number in range(first, last + step, step)]

        assert data_of(await read("order-1")) == numbers(1, 10)
        assert data_of(await read("order-1", limit=3)) == numbers(1, 3)
        assert data_of(await read("order-1", after=4)) == numbers(5, 10)
        assert data_of(await read("order-1", after=4, before=8)) == numbers(5, 7)
        assert data_of(await read("order-1", after=4, before=8, limit=2)) == numbers(5, 6)
        assert data_of(await read("order-1", backwards=True)) == numbers(10, 1)
        assert data_of(await read("order-1", backwards=True, limit=1)) == [b"10"]
        assert data_of(await read("order-1", after=4, before=8, backwards=True)) == numbers(7, 5)
        assert data_of(await read("order-1", after=4, before=5)) == []
        assert data_of(await read("order-1", after=10)) == []

    async def test_bodies_are_those_of_the_stream(self, harness: StoresHarness) -> None:
        """Version, type, schema version and data of each event; including appends of the same transaction."""
        stores = harness.first
        added = [replace(new_event(bytes([number])), schema_version=number) for number in range(1, 6)]
        await add(stores, "order-1", *added[:4])
        await add(stores, "order-10", new_event(b"another"))
        async with stores.database.begin() as db_tx:
            await stores[EVENTS].append(db_tx, [Append("order-1", added[4:], 4)])
            bodies = [(number, each.type, number, each.data) for number, each in enumerate(added, 1)]
            read = stores[EVENTS].read_bodies
            assert [tuple(body) for body in await read("order-1", db_tx=db_tx)] == bodies
            assert [tuple(body) for body in await read("order-1", after=1, limit=2, db_tx=db_tx)] == bodies[1:3]
            assert [tuple(body) for body in await read("order-1")] == bodies[:4]
            assert not await read("order-1", after=5, db_tx=db_tx)
            assert not await read("order-2", db_tx=db_tx)

    async def test_a_transaction_reads_its_own_appends(self, harness: StoresHarness) -> None:
        """Other readers do not before its commit."""
        stores = harness.first
        await add(stores, "order-1", new_event(b"1"))
        async with stores.database.begin() as db_tx:
            await stores[EVENTS].append(db_tx, [Append("order-1", [new_event(b"2")], 1)])
            assert data_of(await stores[EVENTS].read_stream("order-1", db_tx=db_tx)) == [b"1", b"2"]
            assert data_of(await stores[EVENTS].read_stream("order-1", backwards=True, limit=1, db_tx=db_tx)) == [b"2"]
            assert await stores[EVENTS].version("order-1", db_tx=db_tx) == 2
            assert data_of(await stores[EVENTS].read_stream("order-1")) == [b"1"]
            assert await stores[EVENTS].version("order-1") == 1

    async def test_writers_of_a_stream_take_turns(self, harness: StoresHarness) -> None:
        """The second one waits for the commit, and gets the new version."""
        stores, other = harness.first, await harness.instance()
        async with stores.database.begin() as db_tx:
            await stores[EVENTS].append(db_tx, [Append("order-1", [new_event(b"first")])])
            second = asyncio.create_task(add(other, "order-1", new_event(b"second")))
            third = asyncio.create_task(add(other, "order-1", new_event(b"third"), expected=0))
            assert await has_to_wait(second)
            assert not third.done()
        await asyncio.wait_for(second, 30)
        with pytest.raises(ConcurrencyConflict, match="'order-1'"):
            await asyncio.wait_for(third, 30)
        assert data_of(await stores[EVENTS].read_stream("order-1")) == [b"first", b"second"]

    async def test_writers_of_other_streams_do_not_wait(self, harness: StoresHarness) -> None:
        """Where the engine has several writers."""
        if not harness.features.concurrent_writers:
            pytest.skip("feature: concurrent_writers")
        stores = harness.first
        async with stores.database.begin() as db_tx:
            await stores[EVENTS].append(db_tx, [Append("order-1", [new_event()])])
            await asyncio.wait_for(add(stores, "order-2"), 30)

    async def test_one_of_many_writers_of_a_version_wins(self, harness: StoresHarness) -> None:
        """All expect the same version: one commits, all others get a conflict, and versions have no gap."""
        stores, other = harness.first, await harness.instance()
        for version in range(3):
            tries = (add((stores, other)[n % 2], "order-1", expected=version) for n in range(10))
            answers = await asyncio.gather(*tries, return_exceptions=True)
            assert sum(isinstance(each, ConcurrencyConflict) for each in answers) == 9
        assert [each.version for each in await other[EVENTS].read_stream("order-1")] == [1, 2, 3]

    async def test_streams_in_any_order_cause_no_deadlock(self, harness: StoresHarness) -> None:
        """Each transaction names the same streams in another order."""
        stores, other = harness.first, await harness.instance()
        streams = [f"order-{number}" for number in range(6)]

        async def work(turn: int) -> None:
            rotated = streams[turn % 6 :] + streams[: turn % 6]
            appends = [Append(stream, [new_event()]) for stream in (rotated if turn % 2 else rotated[::-1])]
            await (stores, other)[turn % 2][EVENTS].append_now(appends)

        async with asyncio.TaskGroup() as group:
            for turn in range(24):
                group.create_task(work(turn))
        for stream in streams:
            assert await stores[EVENTS].version(stream) == 24
