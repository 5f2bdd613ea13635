"""The suite of the snapshot store. Needs pytest and pytest-asyncio."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from freehold.aggregate.store import SNAPSHOTS, Snapshot
from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.ports import Stores

__all__ = ["SnapshotStoreConformance"]

_FIRST = Snapshot(
    stream="order-1", kind="order", version=100, schema_version=1, fingerprint="abc", data=b'\x00{"total":1}\xff'
)


class _GivenUp(Exception):
    """Ends a transaction with a rollback."""


async def save(stores: Stores, *snapshots: Snapshot) -> None:
    """Save in a transaction of its own."""
    async with stores.database.begin() as db_tx:
        for snapshot in snapshots:
            await stores[SNAPSHOTS].save(db_tx, snapshot)


async def load(stores: Stores, snapshot: Snapshot = _FIRST) -> Snapshot | None:
    """The stored snapshot of the stream and kind."""
    return await stores[SNAPSHOTS].load(snapshot.stream, snapshot.kind)


class SnapshotStoreConformance:
    """What every store of snapshots must do. Bind it with a `harness` fixture."""

    async def test_a_snapshot_comes_back_as_it_was(self, harness: StoresHarness) -> None:
        """Byte for byte, also for another instance; None where there is none."""
        assert await load(harness.first) is None
        await save(harness.first, _FIRST)
        assert await load(harness.first) == _FIRST
        assert await load(await harness.instance()) == _FIRST

    async def test_streams_and_kinds_have_one_each(self, harness: StoresHarness) -> None:
        """Snapshots of two kinds of one stream do not replace each other."""
        others = [replace(_FIRST, stream="order-2", version=7), replace(_FIRST, kind="order-totals", version=8)]
        await save(harness.first, _FIRST, *others)
        for each in (_FIRST, *others):
            assert await load(harness.first, each) == each

    async def test_a_newer_snapshot_takes_the_place_of_an_older_one(self, harness: StoresHarness) -> None:
        """There is one row, however often a snapshot is saved."""
        newer = replace(_FIRST, version=200, data=b"newer")
        await save(harness.first, _FIRST)
        await save(harness.first, newer)
        assert await load(harness.first) == newer

    async def test_an_older_snapshot_changes_nothing(self, harness: StoresHarness) -> None:
        """A slow writer does not replace a newer snapshot."""
        await save(harness.first, _FIRST)
        await save(harness.first, replace(_FIRST, version=99, data=b"older"))
        assert await load(harness.first) == _FIRST

    async def test_an_older_snapshot_of_another_shape_takes_the_place(self, harness: StoresHarness) -> None:
        """A snapshot of former code cannot be used, however new its version is."""
        for changed in (replace(_FIRST, version=9, schema_version=2), replace(_FIRST, version=9, fingerprint="xyz")):
            await save(harness.first, _FIRST)
            await save(harness.first, changed)
            assert await load(harness.first) == changed

    async def test_a_snapshot_belongs_to_the_transaction(self, harness: StoresHarness) -> None:
        """It is visible in it at once, to others after the commit, and not after a rollback."""
        stores = harness.first
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                await stores[SNAPSHOTS].save(db_tx, _FIRST)
                assert await stores[SNAPSHOTS].load(_FIRST.stream, _FIRST.kind, db_tx=db_tx) == _FIRST
                assert await load(await harness.instance()) is None
                raise _GivenUp
        assert await load(stores) is None

    async def test_two_that_save_one_snapshot_leave_the_newer(self, harness: StoresHarness) -> None:
        """The second one waits for the first; then the newer version is stored."""
        stores, other = harness.first, await harness.instance()
        async with stores.database.begin() as db_tx:
            await stores[SNAPSHOTS].save(db_tx, replace(_FIRST, version=200))
            second = asyncio.create_task(save(other, _FIRST))
            assert await has_to_wait(second)
        await second
        assert await load(stores) == replace(_FIRST, version=200)

    async def test_a_discarded_snapshot_is_gone(self, harness: StoresHarness) -> None:
        """The result says whether there was one; others stay."""
        stores, other = harness.first, replace(_FIRST, kind="order-totals")
        await save(stores, _FIRST, other)
        assert await stores[SNAPSHOTS].discard(_FIRST.stream, _FIRST.kind)
        assert not await stores[SNAPSHOTS].discard(_FIRST.stream, _FIRST.kind)
        assert await load(stores) is None
        assert await load(stores, other) == other

    async def test_a_discard_can_be_part_of_a_transaction(self, harness: StoresHarness) -> None:
        """A snapshot that does not match is deleted and replaced, even by an older one; a rollback restores it."""
        stores, older = harness.first, replace(_FIRST, version=3)
        await save(stores, _FIRST)
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                assert await stores[SNAPSHOTS].discard(_FIRST.stream, _FIRST.kind, db_tx=db_tx)
                assert await stores[SNAPSHOTS].load(_FIRST.stream, _FIRST.kind, db_tx=db_tx) is None
                raise _GivenUp
        assert await load(stores) == _FIRST
        async with stores.database.begin() as db_tx:
            await stores[SNAPSHOTS].discard(_FIRST.stream, _FIRST.kind, db_tx=db_tx)
            await stores[SNAPSHOTS].save(db_tx, older)
        assert await load(stores) == older

    async def test_all_of_a_kind_are_discarded_in_bounded_portions(self, harness: StoresHarness) -> None:
        """Other kinds stay."""
        stores, other = harness.first, replace(_FIRST, kind="order-totals")
        await save(stores, other, *(replace(_FIRST, stream=f"order-{number}") for number in range(5)))
        assert await stores[SNAPSHOTS].discard_all("order", 3) == 3
        assert await stores[SNAPSHOTS].discard_all("order", 3) == 2
        assert await stores[SNAPSHOTS].discard_all("order", 3) == 0
        assert await load(stores, other) == other

    async def test_discarding_a_kind_can_be_part_of_a_transaction(self, harness: StoresHarness) -> None:
        """Together with an audit entry; a rollback undoes both."""
        stores = harness.first
        await save(stores, _FIRST, replace(_FIRST, stream="order-2"))
        with pytest.raises(_GivenUp):
            async with stores.database.begin() as db_tx:
                assert await stores[SNAPSHOTS].discard_all("order", 10, db_tx=db_tx) == 2
                raise _GivenUp
        assert await load(stores) == _FIRST

    async def test_kinds_are_counted(self, harness: StoresHarness) -> None:
        """Their number, their size and the newest time, for an operator who may discard a kind."""
        stores, newer = harness.first, replace(_FIRST, stream="order-2", data=b"12345")
        assert await stores[SNAPSHOTS].kinds() == []
        await save(stores, _FIRST, replace(_FIRST, kind="order-totals", data=b""))
        (first, totals) = await stores[SNAPSHOTS].kinds()
        await save(stores, newer)
        (both, same) = await stores[SNAPSHOTS].kinds()
        assert (first.kind, first.count, first.size_bytes) == ("order", 1, len(_FIRST.data))
        assert (both.kind, both.count, both.size_bytes) == ("order", 2, len(_FIRST.data) + 5)
        assert (totals.kind, totals.count, totals.size_bytes) == ("order-totals", 1, 0)
        assert both.saved_at >= first.saved_at
        assert same == totals
        assert both.saved_at.utcoffset() == timedelta(0)

    async def test_a_large_state_is_kept(self, harness: StoresHarness) -> None:
        """Snapshots have no size limit of their own."""
        large = replace(_FIRST, data=bytes(range(256)) * 8_000)
        await save(harness.first, large)
        assert await load(harness.first) == large
