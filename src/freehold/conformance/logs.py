"""The suite of the port for brokers' logs. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.conformance.outbox import outgoing, take_partitions
from freehold.outbox.log import BROKER_LOGS
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores

__all__ = ["BrokerLogStoreConformance"]


async def _stage(stores: Stores) -> None:
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, [outgoing("k"), outgoing("l")])


class BrokerLogStoreConformance:
    """What every store of brokers' logs must do."""

    async def test_another_log_is_a_loss_once(self, harness: StoresHarness) -> None:
        """One of the callers that notice it gets the news, and the loss is kept until it is ended. So is a second loss
        before that; the time of the first one stays.
        """
        stores, other = harness.first, await harness.instance()
        await _stage(stores)
        for _ in range(2):
            assert (await stores[BROKER_LOGS].note("here", "first")).lost_at is None
        assert (await other[BROKER_LOGS].note("elsewhere", "second")).lost_at is None
        noted = await asyncio.gather(*(each[BROKER_LOGS].note("here", "second") for each in (stores, other) * 3))
        assert sum(each.is_news for each in noted) == 1
        (lost,) = await other[BROKER_LOGS].lost()
        assert (lost.place, lost.identity, lost.is_news) == ("here", "second", False)
        assert {each.lost_at for each in noted} == {lost.lost_at}
        harness.clock.advance(60)
        again = await asyncio.gather(*(each[BROKER_LOGS].note("here", "third") for each in (stores, other) * 3))
        assert sum(each.is_news for each in again) == 1
        assert {each.lost_at for each in again} == {lost.lost_at}

    async def test_who_never_staged_has_lost_nothing(self, harness: StoresHarness) -> None:
        """Another log is recorded, without a loss."""
        stores = harness.first
        await stores[BROKER_LOGS].note("here", "first")
        changed = await stores[BROKER_LOGS].note("here", "second")
        assert (changed.identity, changed.lost_at, changed.is_news) == ("second", None, False)
        assert await stores[BROKER_LOGS].lost() == []

    async def test_a_loss_is_ended_by_whoever_has_seen_the_log_that_is_there(self, harness: StoresHarness) -> None:
        """Where the broker has lost its messages once more meanwhile, the loss stays open. The end belongs to the
        transaction.
        """
        stores = harness.first
        await _stage(stores)
        await stores[BROKER_LOGS].note("here", "first")
        seen = await stores[BROKER_LOGS].note("here", "second")
        await stores[BROKER_LOGS].note("here", "third")
        async with stores.database.begin() as db_tx:
            assert not await stores[BROKER_LOGS].end_loss(db_tx, seen)
        (seen,) = await stores[BROKER_LOGS].lost()
        await stores[BROKER_LOGS].keep_mark("here", "third", "7")
        await stores[BROKER_LOGS].note("here", "third", lacks="7")
        async with stores.database.begin() as db_tx:
            assert not await stores[BROKER_LOGS].end_loss(db_tx, seen)
        (lost,) = await stores[BROKER_LOGS].lost()
        with pytest.raises(ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                assert await stores[BROKER_LOGS].end_loss(db_tx, lost)
                _ = 1 / 0
        assert await stores[BROKER_LOGS].lost() == [lost]
        async with stores.database.begin() as db_tx:
            assert await stores[BROKER_LOGS].end_loss(db_tx, lost)
            assert not await stores[BROKER_LOGS].end_loss(db_tx, lost)
        assert await stores[BROKER_LOGS].lost() == []
        assert (await stores[BROKER_LOGS].note("here", "third")).lost_at is None
        assert (await stores[BROKER_LOGS].note("here", "fourth")).is_news

    async def test_an_older_copy_of_the_same_log_is_a_loss(self, harness: StoresHarness) -> None:
        """It has the same identity; its mark is deleted, and stored again."""
        stores, other = harness.first, await harness.instance()
        await _stage(stores)
        assert await stores[BROKER_LOGS].mark("here") == ""
        await stores[BROKER_LOGS].keep_mark("here", "first", "7")
        assert await stores[BROKER_LOGS].mark("here") == ""
        await stores[BROKER_LOGS].note("here", "first")
        await stores[BROKER_LOGS].keep_mark("here", "first", "7")
        await other[BROKER_LOGS].keep_mark("here", "another", "9")
        assert await other[BROKER_LOGS].mark("here") == "7"
        assert (await stores[BROKER_LOGS].note("here", "first")).lost_at is None
        assert await stores[BROKER_LOGS].mark("here") == "7"
        noted = await other[BROKER_LOGS].note("here", "first", lacks="7")
        harness.clock.advance(60)
        again = await stores[BROKER_LOGS].note("here", "first", lacks="7")
        assert [noted.is_news, again.is_news] == [True, False]
        (lost,) = await stores[BROKER_LOGS].lost()
        assert (lost.identity, lost.lost_at) == ("first", noted.lost_at)
        assert await stores[BROKER_LOGS].mark("here") == ""
        async with stores.database.begin() as db_tx:
            assert await stores[BROKER_LOGS].end_loss(db_tx, lost)
        assert (await stores[BROKER_LOGS].note("here", "first")).lost_at is None

    async def test_no_high_water_mark_rises_while_a_loss_is_open(self, harness: StoresHarness) -> None:
        """Rows are still fetched; after the end of the loss, the high-water mark is as before."""
        stores = harness.first
        leases = await take_partitions(stores)
        await _stage(stores)
        before = await stores[OUTBOX].fetch(leases, 100)
        assert min(before.high_water_marks.values()) > 0
        await stores[BROKER_LOGS].note("here", "first")
        lost = await stores[BROKER_LOGS].note("here", "second")
        during = await stores[OUTBOX].fetch(leases, 100)
        assert during.rows == before.rows
        assert set(during.high_water_marks) == set(before.high_water_marks)
        assert set(during.high_water_marks.values()) == {0}
        async with stores.database.begin() as db_tx:
            assert await stores[BROKER_LOGS].end_loss(db_tx, lost)
        assert (await stores[OUTBOX].fetch(leases, 100)).high_water_marks == before.high_water_marks
