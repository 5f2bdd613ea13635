"""The suite of the schedule port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import pytest

from freehold.broker import OutgoingMessage
from freehold.conformance.harness import StoresHarness
from freehold.conformance.outbox import outgoing, take_partitions
from freehold.ids import new_id
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.schedule.schedule_runner import send_due
from freehold.schedule.store import SCHEDULE

__all__ = ["ScheduleStoreConformance"]

_LIMIT: Final = 1000


async def _schedule(
    stores: Stores, message: OutgoingMessage, delay_seconds: float, name: str = "orders.expire"
) -> None:
    async with stores.database.begin() as db_tx:
        await stores[SCHEDULE].add(db_tx, message, name, delay_seconds)


async def _staged(stores: Stores) -> list[bytes]:
    rows = (await stores[OUTBOX].fetch(await take_partitions(stores), _LIMIT)).rows
    return [row.message.document for row in rows]


class ScheduleStoreConformance:
    """What every schedule must do."""

    async def test_a_message_moves_when_it_is_due(self, harness: StoresHarness) -> None:
        """Not before, once, and unchanged."""
        stores = harness.first
        message = outgoing("ä", b"\x00\xff", "orders.commands")
        await _schedule(stores, message, 60)
        assert await send_due(stores, _LIMIT) == 0
        harness.clock.advance(59)
        assert await send_due(stores, _LIMIT) == 0
        harness.clock.advance(1)
        assert await send_due(stores, _LIMIT) == 1
        assert await send_due(stores, _LIMIT) == 0
        (row,) = (await stores[OUTBOX].fetch(await take_partitions(stores), _LIMIT)).rows
        assert row.message == message

    async def test_a_rollback_schedules_nothing(self, harness: StoresHarness) -> None:
        """It is rolled back with the rest of the transaction."""
        stores = harness.first
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                await stores[SCHEDULE].add(db_tx, outgoing("k"), "n", 0)
                _ = 1 / 0
        assert await stores[SCHEDULE].next_due_seconds() is None

    async def test_oldest_first(self, harness: StoresHarness) -> None:
        """By due time, then by the order of scheduling; a batch in each call."""
        stores = harness.first
        for document, delay_seconds in ((b"3", 30), (b"1", 10), (b"2a", 20), (b"2b", 20), (b"2c", 20), (b"4", 99)):
            await _schedule(stores, outgoing("k", document), delay_seconds)
        harness.clock.advance(30)
        assert await send_due(stores, 2) == 2
        assert await _staged(stores) == [b"1", b"2a"]
        assert await send_due(stores, _LIMIT) == 3
        assert await _staged(stores) == [b"1", b"2a", b"2b", b"2c", b"3"]

    async def test_cancel_takes_it_back(self, harness: StoresHarness) -> None:
        """Once; False for a message that was moved or never existed."""
        stores = harness.first
        cancelled, moved = outgoing("k"), outgoing("k", b"moved")
        await _schedule(stores, cancelled, 10)
        await _schedule(stores, moved, 5)
        harness.clock.advance(5)
        assert await send_due(stores, _LIMIT) == 1
        async with stores.database.begin() as db_tx:
            assert await stores[SCHEDULE].cancel(db_tx, cancelled.id)
            assert not await stores[SCHEDULE].cancel(db_tx, cancelled.id)
            assert not await stores[SCHEDULE].cancel(db_tx, moved.id)
            assert not await stores[SCHEDULE].cancel(db_tx, new_id())
        harness.clock.advance(60)
        assert await send_due(stores, _LIMIT) == 0
        assert await _staged(stores) == [b"moved"]

    async def test_a_cancellation_rolls_back_too(self, harness: StoresHarness) -> None:
        """After a rollback the cancelled message is still scheduled."""
        stores = harness.first
        message = outgoing("k", b"kept")
        await _schedule(stores, message, 10)
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                assert await stores[SCHEDULE].cancel(db_tx, message.id)
                _ = 1 / 0
        harness.clock.advance(10)
        assert await send_due(stores, _LIMIT) == 1

    async def test_several_movers_move_each_message_once(self, harness: StoresHarness) -> None:
        """At the same time, in batches, and in order for each key."""
        instances = [harness.first, await harness.instance()]
        expected: dict[str, list[bytes]] = {"a": [], "b": [], "c": []}
        async with harness.first.database.begin() as db_tx:
            for number in range(90):
                key, document = "abc"[number % 3], str(number).encode()
                expected[key].append(document)
                await harness.first[SCHEDULE].add(db_tx, outgoing(key, document), "n", number / 10)
        harness.clock.advance(60)

        async def drain(stores: Stores) -> None:
            while await stores[SCHEDULE].next_due_seconds() is not None:
                await send_due(stores, 7)

        await asyncio.wait_for(asyncio.gather(*(drain(each) for each in instances for _ in range(2))), 30)
        rows = (await harness.first[OUTBOX].fetch(await take_partitions(harness.first), _LIMIT)).rows
        for key, documents in expected.items():
            assert [row.message.document for row in rows if row.message.key == key] == documents

    async def test_next_due_tells_how_long(self, harness: StoresHarness) -> None:
        """None without messages, negative where one is overdue."""
        stores = harness.first
        assert await stores[SCHEDULE].next_due_seconds() is None
        await _schedule(stores, outgoing("k"), 60)
        await _schedule(stores, outgoing("k"), 90)
        assert await stores[SCHEDULE].next_due_seconds() == pytest.approx(60, abs=0.01)
        harness.clock.advance(75)
        assert await stores[SCHEDULE].next_due_seconds() == pytest.approx(-15, abs=0.01)
        await send_due(stores, _LIMIT)
        assert await stores[SCHEDULE].next_due_seconds() == pytest.approx(15, abs=0.01)

    async def test_find_shows_what_waits(self, harness: StoresHarness) -> None:
        """By name, next first."""
        stores = harness.first
        later, sooner, other = outgoing("k"), outgoing("k"), outgoing("k")
        await _schedule(stores, later, 20, "wanted")
        await _schedule(stores, sooner, 10, "wanted")
        await _schedule(stores, other, 5, "other")
        found = await stores[SCHEDULE].find("wanted", 10)
        assert [each.message for each in found] == [sooner, later]
        assert found[0].name == "wanted"
        assert found[0].due_at == harness.clock.now() + timedelta(seconds=10)
        assert [each.message for each in await stores[SCHEDULE].find(None, 2)] == [other, sooner]
        assert await stores[SCHEDULE].find("unknown", 10) == []
