"""The suite of the checkpoint port for parked streams and pauses; a part of `CheckpointStoreConformance`."""

from __future__ import annotations

from dataclasses import replace

from freehold.conformance.checkpoint_steps import BUILDING, advanced, key_of, made, parked_at, refused, seen_at
from freehold.conformance.harness import StoresHarness
from freehold.errors import ConcurrencyConflict
from freehold.projection.store import CHECKPOINTS, Move

__all__ = ["ParkedStreamsConformance"]


class ParkedStreamsConformance:
    """What every checkpoint store must do with parked streams and pauses."""

    async def test_parking_is_noticed(self, harness: StoresHarness) -> None:
        """A runner that has not read a parked stream, or its release, writes nothing."""
        stores = harness.first
        await made(stores)
        (seen,) = await advanced(stores, Move(await seen_at(stores), 9))
        parked = await parked_at(stores, seen, key_of())
        assert (parked.position, parked.revision > seen.revision) == (9, True)
        await refused(stores, Move(seen, 10))
        async with stores.database.begin() as db_tx:
            released = await stores[CHECKPOINTS].release(db_tx, parked, "order-1")
        await refused(stores, Move(parked, 10))
        assert (await advanced(stores, Move(released, 10)))[0].position == 10
        assert await stores[CHECKPOINTS].parked() == []

    async def test_an_overtaken_runner_parks_nothing(self, harness: StoresHarness) -> None:
        """And it releases nothing."""
        stores = harness.first
        await made(stores)
        seen = await seen_at(stores)
        parked = await parked_at(stores, seen, key_of())
        for release in (True, False):
            try:
                async with stores.database.begin() as db_tx:
                    if release:
                        await stores[CHECKPOINTS].release(db_tx, seen, "order-1")
                    else:
                        await stores[CHECKPOINTS].park(db_tx, seen, key_of("order-2"))
            except ConcurrencyConflict:
                continue
            raise AssertionError("it was not refused")
        assert [each.stream for each in await stores[CHECKPOINTS].parked()] == ["order-1"]
        assert await seen_at(stores) == parked

    async def test_what_is_known_of_a_parked_stream(self, harness: StoresHarness) -> None:
        """The latest attempt, the time of parking, the due time; characters that engines cannot store are replaced."""
        stores = harness.first
        await made(stores)
        first = key_of()
        seen = await parked_at(stores, await seen_at(stores), first)
        since = harness.clock.now()
        harness.clock.advance(4)
        (read,) = await stores[CHECKPOINTS].parked("summary", 1, 0, stream="order-1")
        assert (read.stream, read.position, read.version, read.event_id) == ("order-1", 5, 3, first.event_id)
        assert (read.type, read.error, read.attempts) == ("orders.placed", "ValueError", 1)
        assert read.detail.startswith("in placed, line 7")
        assert read.due_seconds is not None
        assert round(read.due_seconds, 3) == 6.0
        later = replace(key_of(position=8, retry_seconds=None), attempts=2, started_attempts=1)
        await parked_at(stores, seen, later)
        (again,) = await stores[CHECKPOINTS].parked()
        assert (again.position, again.attempts, again.due_seconds, again.parked_at) == (8, 2, None, since)
        assert (read.started_attempts, again.started_attempts) == (0, 1)

    async def test_parked_streams_are_found(self, harness: StoresHarness) -> None:
        """By projection, generation, partition and stream, in order of position, and counted."""
        stores = harness.first
        await made(stores)
        await made(stores, name="other")
        seen = await seen_at(stores)
        for stream, position in (("order-2", 9), ("order-1", 12), ("order-3", 4)):
            seen = await parked_at(stores, seen, key_of(stream, position=position))
        await parked_at(stores, await seen_at(stores, 1), key_of("order-4", position=1))
        await parked_at(stores, await seen_at(stores, 1, 1, "other"), key_of("order-1"))
        parked = stores[CHECKPOINTS].parked
        assert [each.stream for each in await parked("summary", 1, 0)] == ["order-3", "order-2", "order-1"]
        assert [each.stream for each in await parked("summary", limit=2)] == ["order-4", "order-3"]
        assert [each.projection for each in await parked(stream="order-1")] == ["other", "summary"]
        assert await stores[CHECKPOINTS].count_parked() == {("summary", 1): 4, ("other", 1): 1}

    async def test_a_pause_is_noticed(self, harness: StoresHarness) -> None:
        """After its commit no batch of the paused generations commits."""
        stores = harness.first
        await made(stores, 1)
        await made(stores, 2, BUILDING)
        old, new = await seen_at(stores, 0, 1), await seen_at(stores, 0, 2)
        async with stores.database.begin() as db_tx:
            assert await stores[CHECKPOINTS].pause(db_tx, "summary", 2, reason="too many", actor="runner")
        await refused(stores, Move(new, 9))
        (old,) = await advanced(stores, Move(old, 9))
        async with stores.database.begin() as db_tx:
            assert await stores[CHECKPOINTS].pause(db_tx, "summary", reason="drill", actor="me")
            assert not await stores[CHECKPOINTS].pause(db_tx, "summary", reason="again", actor="you")
        await refused(stores, Move(old, 10))
        all_of_it, one = await stores[CHECKPOINTS].pauses("summary")
        assert (all_of_it.generation, all_of_it.reason, all_of_it.actor) == (0, "drill", "me")
        assert (one.generation, one.reason, one.paused_at) == (2, "too many", harness.clock.now())
        async with stores.database.begin() as db_tx:
            assert await stores[CHECKPOINTS].resume(db_tx, "summary") == all_of_it
            assert await stores[CHECKPOINTS].resume(db_tx, "summary") is None
        assert await stores[CHECKPOINTS].pauses() == [one]
        assert await stores[CHECKPOINTS].pauses("another") == []
