"""The suite of the checkpoint port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from freehold.conformance.checkpoint_steps import (
    BUILDING,
    LIVE,
    RETIRED,
    advanced,
    key_of,
    made,
    not_started,
    parked_at,
    refused,
    seen_at,
    started_at,
)
from freehold.conformance.checkpoints_parked import ParkedStreamsConformance
from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.errors import ConcurrencyConflict, FreeholdError
from freehold.projection.store import CHECKPOINTS, Generation, Move

__all__ = ["CheckpointStoreConformance"]


class CheckpointStoreConformance(ParkedStreamsConformance):
    """What every checkpoint store must do."""

    async def test_a_generation_is_made_with_its_checkpoints(self, harness: StoresHarness) -> None:
        """With one checkpoint for each partition at the given position, none for an inline projection; and with the
        names of its tables.
        """
        stores = harness.first
        async with stores.database.begin() as db_tx:
            made = await stores[CHECKPOINTS].create(
                db_tx,
                "summary",
                1,
                version=7,
                partitions=3,
                state=LIVE,
                position=41,
                reason="the first",
                tables=("a", "s.b"),
            )
            await stores[CHECKPOINTS].create(db_tx, "inline", 1, version=1, partitions=0, state=LIVE)
            assert [each.number for each in await stores[CHECKPOINTS].generations("summary", db_tx=db_tx)] == [1]
        assert (made.version, made.partitions, made.state, made.reason) == (7, 3, LIVE, "the first")
        assert made.tables == ("a", "s.b")
        assert made.created_at == made.changed_at == harness.clock.now()
        assert [each.projection for each in await stores[CHECKPOINTS].generations()] == ["inline", "summary"]
        assert await stores[CHECKPOINTS].generations("summary") == [made]
        checkpoints = await stores[CHECKPOINTS].checkpoints()
        assert [(each.partition, each.position, each.state) for each in checkpoints] == [
            (partition, 41, LIVE) for partition in range(3)
        ]
        assert {(each.revision, each.handled, each.failed) for each in checkpoints} == {(0, 0, 0)}

    async def test_a_generation_goes_with_a_rollback(self, harness: StoresHarness) -> None:
        """Like all changes of the transaction."""
        stores = harness.first
        try:
            async with stores.database.begin() as db_tx:
                await stores[CHECKPOINTS].create(db_tx, "summary", 1, version=1, partitions=2, state=LIVE)
                raise KeyError
        except KeyError:
            pass
        assert await stores[CHECKPOINTS].generations() == []
        assert await stores[CHECKPOINTS].checkpoints() == []

    async def test_one_of_many_makes_a_generation(self, harness: StoresHarness) -> None:
        """Instances that start at the same time create it once; only one generation is live, whatever its number."""
        other = await harness.instance()
        outcomes = await asyncio.gather(
            *(made(stores) for stores in (harness.first, other, harness.first, other)), return_exceptions=True
        )
        assert sum(isinstance(each, Generation) for each in outcomes) == 1
        assert sum(isinstance(each, ConcurrencyConflict) for each in outcomes) == 3
        for number, state in ((2, LIVE), (1, BUILDING)):
            try:
                await made(other, number, state)
            except ConcurrencyConflict:
                continue
            raise AssertionError("it was created")
        await made(other, 2, BUILDING)
        await made(other, 1, LIVE, name="another")

    async def test_a_checkpoint_advances(self, harness: StoresHarness) -> None:
        """Counters are added up and the time is recorded; other checkpoints stay."""
        stores = harness.first
        await made(stores)
        harness.clock.advance(5)
        (first,) = await advanced(stores, Move(await seen_at(stores), 10, handled=4, failed=1))
        (second,) = await advanced(stores, Move(first, 12, handled=2))
        assert (second.position, second.handled, second.failed) == (12, 6, 1)
        assert second.updated_at == harness.clock.now()
        untouched = await seen_at(stores, 1)
        assert [*await stores[CHECKPOINTS].checkpoints("summary", 1)] == [second, untouched]
        assert untouched.position == 0
        assert await advanced(stores) == []

    async def test_several_advance_or_none(self, harness: StoresHarness) -> None:
        """And they are returned in the given order."""
        stores = harness.first
        await made(stores, partitions=3)
        zero, one, two = await stores[CHECKPOINTS].checkpoints("summary")
        moved = await advanced(stores, Move(two, 3), Move(zero, 4), Move(one, 5))
        assert [(each.partition, each.position) for each in moved] == [(2, 3), (0, 4), (1, 5)]
        await refused(stores, Move(moved[1], 7), Move(one, 7))
        assert [each.position for each in await stores[CHECKPOINTS].checkpoints("summary")] == [4, 5, 3]

    async def test_an_overtaken_runner_moves_nothing(self, harness: StoresHarness) -> None:
        """By compare-and-set on the position one of two runners succeeds; the other's work is rolled back."""
        stores, other = harness.first, await harness.instance()
        await made(stores)
        seen = await seen_at(stores)
        outcomes = await asyncio.gather(
            *(advanced(each, Move(seen, 9, handled=1)) for each in (stores, other, stores)), return_exceptions=True
        )
        assert sum(isinstance(each, ConcurrencyConflict) for each in outcomes) == 2
        await refused(other, Move(seen, 30))
        now = await seen_at(stores)
        assert (now.position, now.handled) == (9, 1)

    async def test_a_checkpoint_never_goes_back(self, harness: StoresHarness) -> None:
        """A move to the same position changes nothing, but locks the checkpoint."""
        stores = harness.first
        await made(stores)
        (seen,) = await advanced(stores, Move(await seen_at(stores), 9))
        await refused(stores, Move(seen, 8))
        (same,) = await advanced(stores, Move(seen, 9))
        assert same.position == 9

    async def test_a_held_checkpoint_makes_others_wait(self, harness: StoresHarness) -> None:
        """A second runner waits for the commit, and gets a conflict before it has done anything."""
        stores, other = harness.first, await harness.instance()
        await made(stores)
        seen = await seen_at(stores)
        async with stores.database.begin() as db_tx:
            await stores[CHECKPOINTS].advance(db_tx, [Move(seen, 9)])
            late = asyncio.create_task(advanced(other, Move(seen, 9)))
            assert await has_to_wait(late)
        assert isinstance((await asyncio.gather(late, return_exceptions=True))[0], ConcurrencyConflict)

    async def test_locked_checkpoints_stand_still(self, harness: StoresHarness) -> None:
        """For a switch, and for the rebuild of a single key."""
        stores, other = harness.first, await harness.instance()
        await made(stores)
        seen = await seen_at(stores, 1)
        async with stores.database.begin() as db_tx:
            assert [each.partition for each in await stores[CHECKPOINTS].lock(db_tx, "summary")] == [0, 1]
            assert await stores[CHECKPOINTS].lock(db_tx, "summary", 1, 1) == [seen]
            late = asyncio.create_task(advanced(other, Move(seen, 9)))
            assert await has_to_wait(late)
        assert (await late)[0].position == 9

    async def test_a_switch_is_noticed(self, harness: StoresHarness) -> None:
        """A runner that has read an earlier state of its generation writes nothing."""
        stores = harness.first
        await made(stores, 1)
        await made(stores, 2, BUILDING)
        old, new = await seen_at(stores, 0, 1), await seen_at(stores, 0, 2)
        async with stores.database.begin() as db_tx:
            await stores[CHECKPOINTS].lock(db_tx, "summary")
            await stores[CHECKPOINTS].transition(db_tx, "summary", 1, expected=LIVE, to=RETIRED)
            await stores[CHECKPOINTS].transition(db_tx, "summary", 2, expected=BUILDING, to=LIVE)
        await refused(stores, Move(old, 9))
        await refused(stores, Move(new, 9))
        await refused(stores, Move(await seen_at(stores, 0, 1), 9))
        assert (await advanced(stores, Move(await seen_at(stores, 0, 2), 9)))[0].state is LIVE
        assert [each.state for each in await stores[CHECKPOINTS].generations("summary")] == [RETIRED, LIVE]

    async def test_a_late_batch_waits_for_the_switch(self, harness: StoresHarness) -> None:
        """A batch that was in progress when the checkpoints were locked gets the state after the switch."""
        stores, other = harness.first, await harness.instance()
        await made(stores)
        seen = await seen_at(stores)
        async with stores.database.begin() as db_tx:
            await stores[CHECKPOINTS].lock(db_tx, "summary")
            late = asyncio.create_task(advanced(other, Move(seen, 9)))
            assert await has_to_wait(late)
            await stores[CHECKPOINTS].transition(db_tx, "summary", 1, expected=LIVE, to=RETIRED)
        assert isinstance((await asyncio.gather(late, return_exceptions=True))[0], ConcurrencyConflict)

    async def test_one_generation_is_live(self, harness: StoresHarness) -> None:
        """A transition from another state than the expected one, or to a second live generation, is refused."""
        stores = harness.first
        await made(stores, 1)
        await made(stores, 2, BUILDING)
        for number, seen, to in ((2, BUILDING, LIVE), (2, LIVE, RETIRED), (3, BUILDING, RETIRED)):
            try:
                async with stores.database.begin() as db_tx:
                    await stores[CHECKPOINTS].transition(db_tx, "summary", number, expected=seen, to=to)
            except ConcurrencyConflict:
                continue
            raise AssertionError("it was not refused")
        assert [each.state for each in await stores[CHECKPOINTS].generations()] == [LIVE, BUILDING]

    async def test_what_is_begun_is_written_down_beforehand(self, harness: StoresHarness) -> None:
        """A later runner that finds the marker at the checkpoint knows that one started there; the marker causes no
        conflict.
        """
        stores, other = harness.first, await harness.instance()
        await made(stores)
        (seen,) = await advanced(stores, Move(await seen_at(stores), 9, handled=4))
        assert not seen.interrupted
        begun = await started_at(stores, seen)
        assert begun.interrupted
        assert begun == replace(seen, started_position=9) == await seen_at(other)
        assert not (await seen_at(other, 1)).interrupted
        alone = await started_at(other, seen, isolated_position=12, attempts=3)
        assert alone == await seen_at(stores)
        assert (alone.attempts_at(12), alone.attempts_at(13)) == (3, 0)
        assert (await advanced(stores, Move(seen, 10)))[0].position == 10

    async def test_progress_makes_void_what_was_begun(self, harness: StoresHarness) -> None:
        """Only an advance of this partition does; a marker behind the new position stays."""
        stores = harness.first
        await made(stores)
        begun = await started_at(stores, await seen_at(stores))
        beside = await started_at(stores, await seen_at(stores, 1))
        (same,) = await advanced(stores, Move(begun, 0))
        assert same.interrupted
        (moved,) = await advanced(stores, Move(same, 5))
        assert not moved.interrupted
        assert await seen_at(stores, 1) == beside
        alone = await started_at(stores, moved, isolated_position=12, attempts=2)
        (before,) = await advanced(stores, Move(alone, 11))
        assert (before.interrupted, before.attempts_at(12)) == (True, 2)
        (passed,) = await advanced(stores, Move(before, 12))
        assert not passed.interrupted

    async def test_an_overtaken_runner_begins_nothing(self, harness: StoresHarness) -> None:
        """Nor does one that has read an earlier state, or one of a retired generation."""
        stores = harness.first
        await made(stores)
        seen = await seen_at(stores)
        (moved,) = await advanced(stores, Move(seen, 9))
        await not_started(stores, seen)
        parked = await parked_at(stores, moved, key_of())
        await not_started(stores, moved)
        async with stores.database.begin() as db_tx:
            await stores[CHECKPOINTS].transition(db_tx, "summary", 1, expected=LIVE, to=RETIRED)
        await not_started(stores, parked)
        await not_started(stores, await seen_at(stores))
        assert (await seen_at(stores)).started_position == -1

    async def test_what_is_begun_goes_with_a_rollback(self, harness: StoresHarness) -> None:
        """So it must be committed before the work starts."""
        stores = harness.first
        await made(stores)
        seen = await seen_at(stores)
        try:
            async with stores.database.begin() as db_tx:
                await stores[CHECKPOINTS].begin(db_tx, seen)
                raise KeyError
        except KeyError:
            pass
        assert await seen_at(stores) == seen

    async def test_forget_deletes_everything(self, harness: StoresHarness) -> None:
        """Only of this generation, and never of the live one."""
        stores = harness.first
        await made(stores, 1)
        await made(stores, 2, BUILDING)
        await parked_at(stores, await seen_at(stores, 0, 2), key_of())
        kept = await parked_at(stores, await seen_at(stores, 0, 1), key_of())
        async with stores.database.begin() as db_tx:
            await stores[CHECKPOINTS].pause(db_tx, "summary", 2, reason="look", actor="me")
            await stores[CHECKPOINTS].forget(db_tx, "summary", 2)
            await stores[CHECKPOINTS].forget(db_tx, "summary", 9)
        assert [each.number for each in await stores[CHECKPOINTS].generations()] == [1]
        assert (await stores[CHECKPOINTS].checkpoints())[0] == kept
        assert [each.generation for each in await stores[CHECKPOINTS].parked()] == [1]
        assert await stores[CHECKPOINTS].pauses() == []
        try:
            async with stores.database.begin() as db_tx:
                await stores[CHECKPOINTS].forget(db_tx, "summary", 1)
        except ConcurrencyConflict:
            assert await stores[CHECKPOINTS].generations()
        else:
            raise AssertionError("the live one was deleted")

    async def test_names_are_no_patterns(self, harness: StoresHarness) -> None:
        """A name that would match as a pattern is another projection."""
        stores = harness.first
        await made(stores, name="a_b")
        await made(stores, name="axb")
        await advanced(stores, Move(await seen_at(stores, name="a_b"), 9))
        assert (await seen_at(stores, name="axb")).position == 0
        try:
            async with stores.database.begin() as db_tx:
                await stores[CHECKPOINTS].transition(db_tx, "a%", 1, expected=LIVE, to=RETIRED)
        except FreeholdError:
            assert {each.state for each in await stores[CHECKPOINTS].generations()} == {LIVE}
        else:
            raise AssertionError("it was not refused")
