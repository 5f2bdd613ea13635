"""The suite of the checkpoint port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from freehold.binding import Stores
from freehold.conformance.harness import StoresHarness, has_to_wait
from freehold.errors import ConcurrencyConflict, FreeholdError
from freehold.ids import new_id
from freehold.projection.store import Checkpoint, Generation, GenerationState, Move, NewParkedKey

__all__ = ["CheckpointStoreConformance"]

BUILDING: Final = GenerationState.BUILDING
LIVE: Final = GenerationState.LIVE
RETIRED: Final = GenerationState.RETIRED


async def _made(
    stores: Stores, number: int = 1, state: GenerationState = LIVE, *, partitions: int = 2, name: str = "summary"
) -> Generation:
    async with stores.database.begin() as unit:
        return await stores.checkpoints.create(unit, name, number, version=7, partitions=partitions, state=state)


async def _seen(stores: Stores, partition: int = 0, generation: int = 1, name: str = "summary") -> Checkpoint:
    return (await stores.checkpoints.checkpoints(name, generation))[partition]


async def _advanced(stores: Stores, *moves: Move) -> list[Checkpoint]:
    async with stores.database.begin() as unit:
        return list(await stores.checkpoints.advance(unit, moves))


async def _parked(stores: Stores, seen: Checkpoint, parked: NewParkedKey) -> Checkpoint:
    async with stores.database.begin() as unit:
        return await stores.checkpoints.park(unit, seen, parked)


async def _refused(stores: Stores, *moves: Move) -> None:
    try:
        await _advanced(stores, *moves)
    except ConcurrencyConflict as error:
        assert error.hint
    else:
        raise AssertionError("the checkpoint moved")


def _key(stream: str = "order-1", *, position: int = 5, retry_seconds: float | None = 10.0) -> NewParkedKey:
    return NewParkedKey(
        stream, position, 3, new_id(), "orders.placed", "ValueError", "in placed, line 7\x00", 1, retry_seconds
    )


class CheckpointStoreConformance:
    """What every checkpoint store does."""

    async def test_a_generation_is_made_with_its_checkpoints(self, harness: StoresHarness) -> None:
        """At the position given, one a partition, none for an inline projection; and with the names of its tables."""
        stores = harness.first
        async with stores.database.begin() as unit:
            made = await stores.checkpoints.create(
                unit,
                "summary",
                1,
                version=7,
                partitions=3,
                state=LIVE,
                position=41,
                reason="the first",
                tables=("a", "s.b"),
            )
            await stores.checkpoints.create(unit, "inline", 1, version=1, partitions=0, state=LIVE)
            assert [each.number for each in await stores.checkpoints.generations("summary", unit=unit)] == [1]
        assert (made.version, made.partitions, made.state, made.reason) == (7, 3, LIVE, "the first")
        assert made.tables == ("a", "s.b")
        assert made.created_at == made.changed_at == harness.clock.now()
        assert [each.projection for each in await stores.checkpoints.generations()] == ["inline", "summary"]
        assert await stores.checkpoints.generations("summary") == [made]
        checkpoints = await stores.checkpoints.checkpoints()
        assert [(each.partition, each.position, each.state) for each in checkpoints] == [
            (partition, 41, LIVE) for partition in range(3)
        ]
        assert {(each.revision, each.handled, each.failed) for each in checkpoints} == {(0, 0, 0)}

    async def test_a_generation_goes_with_a_rollback(self, harness: StoresHarness) -> None:
        """Like everything of the transaction."""
        stores = harness.first
        try:
            async with stores.database.begin() as unit:
                await stores.checkpoints.create(unit, "summary", 1, version=1, partitions=2, state=LIVE)
                raise KeyError
        except KeyError:
            pass
        assert await stores.checkpoints.generations() == []
        assert await stores.checkpoints.checkpoints() == []

    async def test_one_of_many_makes_a_generation(self, harness: StoresHarness) -> None:
        """Instances that start together make it once; one generation is live, whatever its number."""
        other = await harness.instance()
        outcomes = await asyncio.gather(
            *(_made(stores) for stores in (harness.first, other, harness.first, other)), return_exceptions=True
        )
        assert sum(isinstance(each, Generation) for each in outcomes) == 1
        assert sum(isinstance(each, ConcurrencyConflict) for each in outcomes) == 3
        for number, state in ((2, LIVE), (1, BUILDING)):
            try:
                await _made(other, number, state)
            except ConcurrencyConflict:
                continue
            raise AssertionError("it was made")
        await _made(other, 2, BUILDING)
        await _made(other, 1, LIVE, name="another")

    async def test_a_checkpoint_advances(self, harness: StoresHarness) -> None:
        """Counts are added, the time is noted; the others stay."""
        stores = harness.first
        await _made(stores)
        harness.clock.advance(5)
        (first,) = await _advanced(stores, Move(await _seen(stores), 10, handled=4, failed=1))
        (second,) = await _advanced(stores, Move(first, 12, handled=2))
        assert (second.position, second.handled, second.failed) == (12, 6, 1)
        assert second.updated_at == harness.clock.now()
        untouched = await _seen(stores, 1)
        assert [*await stores.checkpoints.checkpoints("summary", 1)] == [second, untouched]
        assert untouched.position == 0
        assert await _advanced(stores) == []

    async def test_several_advance_or_none(self, harness: StoresHarness) -> None:
        """In the order given."""
        stores = harness.first
        await _made(stores, partitions=3)
        zero, one, two = await stores.checkpoints.checkpoints("summary")
        moved = await _advanced(stores, Move(two, 3), Move(zero, 4), Move(one, 5))
        assert [(each.partition, each.position) for each in moved] == [(2, 3), (0, 4), (1, 5)]
        await _refused(stores, Move(moved[1], 7), Move(one, 7))
        assert [each.position for each in await stores.checkpoints.checkpoints("summary")] == [4, 5, 3]

    async def test_an_overtaken_runner_moves_nothing(self, harness: StoresHarness) -> None:
        """Compare and set on the position: one of two wins, and the other's work is taken back with it."""
        stores, other = harness.first, await harness.instance()
        await _made(stores)
        seen = await _seen(stores)
        outcomes = await asyncio.gather(
            *(_advanced(each, Move(seen, 9, handled=1)) for each in (stores, other, stores)), return_exceptions=True
        )
        assert sum(isinstance(each, ConcurrencyConflict) for each in outcomes) == 2
        await _refused(other, Move(seen, 30))
        now = await _seen(stores)
        assert (now.position, now.handled) == (9, 1)

    async def test_a_checkpoint_never_goes_back(self, harness: StoresHarness) -> None:
        """A move to where it stands is none, but holds it."""
        stores = harness.first
        await _made(stores)
        (seen,) = await _advanced(stores, Move(await _seen(stores), 9))
        await _refused(stores, Move(seen, 8))
        (same,) = await _advanced(stores, Move(seen, 9))
        assert same.position == 9

    async def test_a_held_checkpoint_makes_others_wait(self, harness: StoresHarness) -> None:
        """Whoever comes second waits for the commit, and finds itself overtaken before it has done anything."""
        stores, other = harness.first, await harness.instance()
        await _made(stores)
        seen = await _seen(stores)
        async with stores.database.begin() as unit:
            await stores.checkpoints.advance(unit, [Move(seen, 9)])
            late = asyncio.create_task(_advanced(other, Move(seen, 9)))
            assert await has_to_wait(late)
        assert isinstance((await asyncio.gather(late, return_exceptions=True))[0], ConcurrencyConflict)

    async def test_locked_checkpoints_stand_still(self, harness: StoresHarness) -> None:
        """For a switch and for the rebuild of a single key."""
        stores, other = harness.first, await harness.instance()
        await _made(stores)
        seen = await _seen(stores, 1)
        async with stores.database.begin() as unit:
            assert [each.partition for each in await stores.checkpoints.lock(unit, "summary")] == [0, 1]
            assert await stores.checkpoints.lock(unit, "summary", 1, 1) == [seen]
            late = asyncio.create_task(_advanced(other, Move(seen, 9)))
            assert await has_to_wait(late)
        assert (await late)[0].position == 9

    async def test_a_switch_is_noticed(self, harness: StoresHarness) -> None:
        """A runner that saw a generation live, or building, and is not told that it is so no more, writes nothing."""
        stores = harness.first
        await _made(stores, 1)
        await _made(stores, 2, BUILDING)
        old, new = await _seen(stores, 0, 1), await _seen(stores, 0, 2)
        async with stores.database.begin() as unit:
            await stores.checkpoints.lock(unit, "summary")
            await stores.checkpoints.transition(unit, "summary", 1, seen=LIVE, to=RETIRED)
            await stores.checkpoints.transition(unit, "summary", 2, seen=BUILDING, to=LIVE)
        await _refused(stores, Move(old, 9))
        await _refused(stores, Move(new, 9))
        await _refused(stores, Move(await _seen(stores, 0, 1), 9))
        assert (await _advanced(stores, Move(await _seen(stores, 0, 2), 9)))[0].state is LIVE
        assert [each.state for each in await stores.checkpoints.generations("summary")] == [RETIRED, LIVE]

    async def test_a_late_batch_waits_for_the_switch(self, harness: StoresHarness) -> None:
        """It was under way when the checkpoints were locked; it goes by what the switch has left."""
        stores, other = harness.first, await harness.instance()
        await _made(stores)
        seen = await _seen(stores)
        async with stores.database.begin() as unit:
            await stores.checkpoints.lock(unit, "summary")
            late = asyncio.create_task(_advanced(other, Move(seen, 9)))
            assert await has_to_wait(late)
            await stores.checkpoints.transition(unit, "summary", 1, seen=LIVE, to=RETIRED)
        assert isinstance((await asyncio.gather(late, return_exceptions=True))[0], ConcurrencyConflict)

    async def test_one_generation_is_live(self, harness: StoresHarness) -> None:
        """A transition from another state than the one seen, or to a second live one, is refused."""
        stores = harness.first
        await _made(stores, 1)
        await _made(stores, 2, BUILDING)
        for number, seen, to in ((2, BUILDING, LIVE), (2, LIVE, RETIRED), (3, BUILDING, RETIRED)):
            try:
                async with stores.database.begin() as unit:
                    await stores.checkpoints.transition(unit, "summary", number, seen=seen, to=to)
            except ConcurrencyConflict:
                continue
            raise AssertionError("it went through")
        assert [each.state for each in await stores.checkpoints.generations()] == [LIVE, BUILDING]

    async def test_forget_deletes_everything(self, harness: StoresHarness) -> None:
        """Of this generation alone, and never of the live one."""
        stores = harness.first
        await _made(stores, 1)
        await _made(stores, 2, BUILDING)
        await _parked(stores, await _seen(stores, 0, 2), _key())
        kept = await _parked(stores, await _seen(stores, 0, 1), _key())
        async with stores.database.begin() as unit:
            await stores.checkpoints.pause(unit, "summary", 2, reason="look", actor="me")
            await stores.checkpoints.forget(unit, "summary", 2)
            await stores.checkpoints.forget(unit, "summary", 9)
        assert [each.number for each in await stores.checkpoints.generations()] == [1]
        assert (await stores.checkpoints.checkpoints())[0] == kept
        assert [each.generation for each in await stores.checkpoints.parked()] == [1]
        assert await stores.checkpoints.pauses() == []
        try:
            async with stores.database.begin() as unit:
                await stores.checkpoints.forget(unit, "summary", 1)
        except ConcurrencyConflict:
            assert await stores.checkpoints.generations()
        else:
            raise AssertionError("the live one was deleted")

    async def test_parking_is_noticed(self, harness: StoresHarness) -> None:
        """A runner that does not know of a parked stream, or of its release, writes nothing."""
        stores = harness.first
        await _made(stores)
        (seen,) = await _advanced(stores, Move(await _seen(stores), 9))
        parked = await _parked(stores, seen, _key())
        assert (parked.position, parked.revision > seen.revision) == (9, True)
        await _refused(stores, Move(seen, 10))
        async with stores.database.begin() as unit:
            released = await stores.checkpoints.release(unit, parked, "order-1")
        await _refused(stores, Move(parked, 10))
        assert (await _advanced(stores, Move(released, 10)))[0].position == 10
        assert await stores.checkpoints.parked() == []

    async def test_an_overtaken_runner_parks_nothing(self, harness: StoresHarness) -> None:
        """Nor does it release anything."""
        stores = harness.first
        await _made(stores)
        seen = await _seen(stores)
        parked = await _parked(stores, seen, _key())
        for release in (True, False):
            try:
                async with stores.database.begin() as unit:
                    if release:
                        await stores.checkpoints.release(unit, seen, "order-1")
                    else:
                        await stores.checkpoints.park(unit, seen, _key("order-2"))
            except ConcurrencyConflict:
                continue
            raise AssertionError("it went through")
        assert [each.stream for each in await stores.checkpoints.parked()] == ["order-1"]
        assert await _seen(stores) == parked

    async def test_what_is_known_of_a_parked_stream(self, harness: StoresHarness) -> None:
        """The latest attempt, since when it stands, and when it is due; texts that no engine stores are mended."""
        stores = harness.first
        await _made(stores)
        first = _key()
        seen = await _parked(stores, await _seen(stores), first)
        since = harness.clock.now()
        harness.clock.advance(4)
        (read,) = await stores.checkpoints.parked("summary", 1, 0, stream="order-1")
        assert (read.stream, read.position, read.version, read.event_id) == ("order-1", 5, 3, first.event_id)
        assert (read.type, read.error, read.attempts) == ("orders.placed", "ValueError", 1)
        assert read.detail.startswith("in placed, line 7")
        assert read.due_seconds is not None
        assert round(read.due_seconds, 3) == 6.0
        later = replace(_key(position=8, retry_seconds=None), attempts=2)
        await _parked(stores, seen, later)
        (again,) = await stores.checkpoints.parked()
        assert (again.position, again.attempts, again.due_seconds, again.parked_at) == (8, 2, None, since)

    async def test_parked_streams_are_found(self, harness: StoresHarness) -> None:
        """By projection, generation, partition and stream, in order of position, and counted."""
        stores = harness.first
        await _made(stores)
        await _made(stores, name="other")
        seen = await _seen(stores)
        for stream, position in (("order-2", 9), ("order-1", 12), ("order-3", 4)):
            seen = await _parked(stores, seen, _key(stream, position=position))
        await _parked(stores, await _seen(stores, 1), _key("order-4", position=1))
        await _parked(stores, await _seen(stores, 1, 1, "other"), _key("order-1"))
        parked = stores.checkpoints.parked
        assert [each.stream for each in await parked("summary", 1, 0)] == ["order-3", "order-2", "order-1"]
        assert [each.stream for each in await parked("summary", limit=2)] == ["order-4", "order-3"]
        assert [each.projection for each in await parked(stream="order-1")] == ["other", "summary"]
        assert await stores.checkpoints.count_parked() == {("summary", 1): 4, ("other", 1): 1}

    async def test_a_pause_is_noticed(self, harness: StoresHarness) -> None:
        """Once it has committed, no batch of the generations that it is meant for commits."""
        stores = harness.first
        await _made(stores, 1)
        await _made(stores, 2, BUILDING)
        old, new = await _seen(stores, 0, 1), await _seen(stores, 0, 2)
        async with stores.database.begin() as unit:
            assert await stores.checkpoints.pause(unit, "summary", 2, reason="too many", actor="runner")
        await _refused(stores, Move(new, 9))
        (old,) = await _advanced(stores, Move(old, 9))
        async with stores.database.begin() as unit:
            assert await stores.checkpoints.pause(unit, "summary", reason="drill", actor="me")
            assert not await stores.checkpoints.pause(unit, "summary", reason="again", actor="you")
        await _refused(stores, Move(old, 10))
        all_of_it, one = await stores.checkpoints.pauses("summary")
        assert (all_of_it.generation, all_of_it.reason, all_of_it.actor) == (0, "drill", "me")
        assert (one.generation, one.reason, one.paused_at) == (2, "too many", harness.clock.now())
        async with stores.database.begin() as unit:
            assert await stores.checkpoints.resume(unit, "summary") == all_of_it
            assert await stores.checkpoints.resume(unit, "summary") is None
        assert await stores.checkpoints.pauses() == [one]
        assert await stores.checkpoints.pauses("another") == []

    async def test_names_are_no_patterns(self, harness: StoresHarness) -> None:
        """What looks like another projection is another one."""
        stores = harness.first
        await _made(stores, name="a_b")
        await _made(stores, name="axb")
        await _advanced(stores, Move(await _seen(stores, name="a_b"), 9))
        assert (await _seen(stores, name="axb")).position == 0
        try:
            async with stores.database.begin() as unit:
                await stores.checkpoints.transition(unit, "a%", 1, seen=LIVE, to=RETIRED)
        except FreeholdError:
            assert {each.state for each in await stores.checkpoints.generations()} == {LIVE}
        else:
            raise AssertionError("it went through")
