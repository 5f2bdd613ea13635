"""The suite of the progress port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.conformance.outbox_marks import outgoing
from freehold.consistency.store import PROGRESS, LaneProgress
from freehold.inbox.store import INBOX, IncomingMessage
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores

__all__ = ["ProgressStoreConformance"]


async def _advance(
    stores: Stores, watermarks: dict[str, int], *, appended_position: int = 0, consumer: str = "reader"
) -> None:
    async with stores.database.begin() as db_tx:
        await stores[PROGRESS].advance(db_tx, consumer, watermarks, appended_position=appended_position)


async def _defer(stores: Stores, key: str, lane: str | None, position: int | None) -> None:
    arrival = IncomingMessage(receipt_key=f"{key}/{position}", topic="t", key=key, lane=lane, lane_position=position)
    async with stores.database.begin() as db_tx:
        await stores[INBOX].defer(db_tx, "reader", arrival, b"{}", attempts=0, delay_seconds=0.0, reason="failed")


async def _one(stores: Stores, lane: str) -> LaneProgress:
    (found,) = await stores[PROGRESS].progress("reader", [lane])
    return found


class ProgressStoreConformance:
    """What every progress store must do."""

    async def test_a_watermark_only_rises(self, harness: StoresHarness) -> None:
        """A lower one changes nothing, not even the time of the last change."""
        stores = harness.first
        await _advance(stores, {"orders/1": 7})
        first = await _one(stores, "orders/1")
        harness.clock.advance(10)
        await _advance(stores, {"orders/1": 5})
        assert await _one(stores, "orders/1") == first
        await _advance(stores, {"orders/1": 9})
        last = await _one(stores, "orders/1")
        assert (last.watermark, last.blocked) == (9, False)
        assert (last.updated_at - first.updated_at).total_seconds() == pytest.approx(10, abs=1)

    async def test_progress_belongs_to_the_transaction(self, harness: StoresHarness) -> None:
        """It is committed or rolled back with it."""
        stores = harness.first
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                await stores[PROGRESS].advance(db_tx, "reader", {"orders/1": 7})
                _ = 1 / 0
        assert list(await stores[PROGRESS].progress("reader")) == []
        async with stores.database.begin() as db_tx:
            await stores[PROGRESS].advance(db_tx, "reader", {"orders/1": 7})
            assert list(await stores[PROGRESS].progress("reader")) == []
        assert (await _one(stores, "orders/1")).watermark == 7

    async def test_the_last_write_belongs_to_the_transaction(self, harness: StoresHarness) -> None:
        """Also behind messages that are written last; it only rises, and any text is a lane."""
        stores, odd = harness.first, "ä'$1;-- \\'; ROLLBACK; --/1"
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                await stores[PROGRESS].advance_last(db_tx, "reader", {odd: 7})
                _ = 1 / 0
        assert list(await stores[PROGRESS].progress("reader")) == []
        for watermark, appended in ((7, 4), (5, 11), (6, 2)):
            async with stores.database.begin() as db_tx:
                await stores[OUTBOX].stage_last(db_tx, [outgoing("k", b"{}")])
                lanes = {odd: watermark, "orders/2": 10 - watermark}
                await stores[PROGRESS].advance_last(db_tx, "reader", lanes, appended_position=appended)
        first, last = sorted(await stores[PROGRESS].progress("reader"), key=lambda each: each.watermark)
        assert (first.lane, first.watermark, first.appended_position) == ("orders/2", 5, 11)
        assert (last.lane, last.watermark, last.appended_position) == (odd, 7, 11)

    async def test_many_last_writes_at_once_end_with_the_greatest(self, harness: StoresHarness) -> None:
        """Several instances stage messages of the same keys and advance the same lanes, each in another order."""
        stores, other = harness.first, await harness.instance()
        lanes = [f"orders/{number}" for number in range(5)]

        async def work(turn: int) -> None:
            mine, at = lanes if turn % 2 else lanes[::-1], other if turn % 3 else stores
            async with at.database.begin() as db_tx:
                await at[OUTBOX].stage_last(db_tx, [outgoing(f"k{(turn + n) % 3}", b"{}") for n in range(2)])
                await at[PROGRESS].advance_last(db_tx, "reader", dict.fromkeys(mine, turn))

        async with asyncio.TaskGroup() as group:
            for turn in range(1, 25):
                group.create_task(work(turn))
        found = {each.lane: each.watermark for each in await stores[PROGRESS].progress("reader")}
        assert found == dict.fromkeys(lanes, 24)

    async def test_lanes_and_consumers_are_apart(self, harness: StoresHarness) -> None:
        """In order of lane; unknown lanes are left out."""
        stores, other = harness.first, await harness.instance()
        await _advance(stores, {"b/2": 2, "a/1": 1, "a/0": 3})
        await _advance(other, {"a/1": 50}, consumer="another")
        await _advance(stores, {})
        assert [(each.lane, each.watermark) for each in await other[PROGRESS].progress("reader")] == [
            ("a/0", 3),
            ("a/1", 1),
            ("b/2", 2),
        ]
        asked = await stores[PROGRESS].progress("reader", ["b/2", "a/1", "c/0"])
        assert [each.lane for each in asked] == ["a/1", "b/2"]

    async def test_a_deferred_message_blocks_its_lane_from_there_on(self, harness: StoresHarness) -> None:
        """The earliest one counts, until it is finished; other lanes, and messages without a lane, are not affected."""
        stores = harness.first
        await _advance(stores, {"orders/1": 20, "orders/2": 20})
        await _defer(stores, "k", "orders/1", 12)
        await _defer(stores, "l", "orders/1", 9)
        await _defer(stores, "m", None, None)
        lane = await _one(stores, "orders/1")
        assert (lane.watermark, lane.blocked_at) == (20, 9)
        assert lane.covers(8)
        assert not lane.covers(9)
        assert not lane.covers(20)
        assert (await _one(stores, "orders/2")).covers(20)
        for message in await stores[INBOX].claim_due("reader", 10, 60):
            async with stores.database.begin() as db_tx:
                assert await stores[INBOX].finish(db_tx, message)
        assert (await _one(stores, "orders/1")).covers(20)
        assert not (await _one(stores, "orders/1")).covers(21)

    async def test_what_was_kept_goes_with_the_lane(self, harness: StoresHarness) -> None:
        """The appended position rises with the watermark, and also without one."""
        stores = harness.first
        await _advance(stores, {"orders/1": 0}, appended_position=4)
        assert (await _one(stores, "orders/1")).appended_position == 4
        await _advance(stores, {"orders/1": 8})
        lane = await _one(stores, "orders/1")
        assert (lane.watermark, lane.appended_position) == (8, 4)
        await _advance(stores, {"orders/1": 3}, appended_position=11)
        lane = await _one(stores, "orders/1")
        assert (lane.watermark, lane.appended_position) == (8, 11)

    async def test_many_at_once_end_with_the_greatest(self, harness: StoresHarness) -> None:
        """Several instances advance the same lanes, each in another order."""
        stores, other = harness.first, await harness.instance()
        lanes = [f"orders/{number}" for number in range(5)]

        async def work(turn: int) -> None:
            mine = lanes if turn % 2 else lanes[::-1]
            await _advance(other if turn % 3 else stores, dict.fromkeys(mine, turn))

        async with asyncio.TaskGroup() as group:
            for turn in range(1, 25):
                group.create_task(work(turn))
        assert {each.lane: each.watermark for each in await stores[PROGRESS].progress("reader")} == dict.fromkeys(
            lanes, 24
        )
