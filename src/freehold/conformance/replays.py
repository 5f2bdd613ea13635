"""The suite of the replay port. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.ids import new_id
from freehold.ports import Stores
from freehold.projection.replay_store import REPLAYS, NewReplay, Replay, ReplayError, ReplayState

__all__ = ["ReplayStoreConformance"]

_FROM, _TO = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


async def _begun(stores: Stores, **changes: Any) -> Replay:
    values: dict[str, Any] = {
        "projection": "order-summary",
        "generation": None,
        "recorded_from": _FROM,
        "recorded_to": _TO,
        "position": 10,
        "end": 500,
        "actor": "ann",
        "reason": "a bug in March",
    }
    async with stores.database.begin() as db_tx:
        return await stores[REPLAYS].create(db_tx, NewReplay(**{**values, **changes}))


async def _advance(stores: Stores, seen: Replay, position: int, *failed: ReplayError, applied: int = 1) -> Replay:
    async with stores.database.begin() as db_tx:
        return await stores[REPLAYS].advance(db_tx, seen, position, applied=applied, failed=failed)


async def _end(stores: Stores, number: int, state: ReplayState = ReplayState.DONE) -> Replay:
    async with stores.database.begin() as db_tx:
        return await stores[REPLAYS].end(db_tx, number, state)


def _error(position: int) -> ReplayError:
    return ReplayError(
        position, f"order-{position}", 3, new_id(), "orders.placed", "ValueError", "in summary.py, line 7"
    )


class ReplayStoreConformance:
    """What every replay store must do."""

    async def test_a_replay_begins_where_it_was_told_to(self, harness: StoresHarness) -> None:
        """All parameters are stored."""
        replay = await _begun(harness.first, generation=4)
        assert replay == await harness.first[REPLAYS].get(replay.number)
        assert (replay.projection, replay.generation) == ("order-summary", 4)
        assert (replay.recorded_from, replay.recorded_to) == (_FROM, _TO)
        assert (replay.position, replay.end, replay.applied, replay.failed) == (10, 500, 0, 0)
        assert (replay.state, replay.actor, replay.reason) == (ReplayState.RUNNING, "ann", "a bug in March")
        assert replay.tables == ()
        assert replay.created_at == harness.clock.now()

    async def test_bounds_may_be_left_out(self, harness: StoresHarness) -> None:
        """Without bounds it covers all events."""
        replay = await _begun(harness.first, recorded_from=None, recorded_to=None)
        assert (replay.recorded_from, replay.recorded_to, replay.generation) == (None, None, None)

    async def test_numbers_are_never_given_twice(self, harness: StoresHarness) -> None:
        """Also after the newest replay was deleted."""
        first = await _begun(harness.first)
        await _end(harness.first, first.number)
        async with harness.first.database.begin() as db_tx:
            await harness.first[REPLAYS].delete(db_tx, first.number)
        assert (await _begun(harness.first)).number > first.number

    async def test_its_position_and_counts_move_on(self, harness: StoresHarness) -> None:
        """Counters are added up, and errors stored."""
        replay = await _begun(harness.first)
        harness.clock.advance(60)
        replay = await _advance(harness.first, replay, 20, applied=10)
        replay = await _advance(harness.first, replay, 22, _error(22), applied=0)
        assert (replay.position, replay.applied, replay.failed) == (22, 10, 1)
        assert replay == await harness.first[REPLAYS].get(replay.number)
        assert replay.updated_at > replay.created_at

    async def test_what_is_begun_is_void_once_it_moves(self, harness: StoresHarness) -> None:
        """The crash marker is written before the work, by compare-and-set; only an advance clears it."""
        stores = harness.first
        replay = await _begun(stores)
        assert not replay.interrupted
        async with stores.database.begin() as db_tx:
            begun = await stores[REPLAYS].begin(db_tx, replay)
        assert (begun.interrupted, begun.started_position) == (True, 10)
        async with stores.database.begin() as db_tx:
            alone = await stores[REPLAYS].begin(db_tx, begun, isolated_position=15, isolated_attempts=2)
        assert alone == await stores[REPLAYS].get(replay.number)
        assert (alone.attempts_at(15), alone.attempts_at(16)) == (2, 0)
        before = await _advance(stores, alone, 12)
        assert (before.interrupted, before.attempts_at(15)) == (True, 2)
        passed = await _advance(stores, before, 15)
        assert not passed.interrupted
        for late in (replay, before):
            with pytest.raises(ConcurrencyConflict):
                async with stores.database.begin() as db_tx:
                    await stores[REPLAYS].begin(db_tx, late)
        ended = await _end(stores, replay.number)
        with pytest.raises(ConcurrencyConflict):
            async with stores.database.begin() as db_tx:
                await stores[REPLAYS].begin(db_tx, ended)

    async def test_of_two_who_work_on_one_the_later_is_refused(self, harness: StoresHarness) -> None:
        """The one with the conflict writes nothing, no errors either."""
        replay = await _begun(harness.first)
        second = await harness.instance()
        await _advance(harness.first, replay, 20)
        with pytest.raises(ConcurrencyConflict):
            await _advance(second, replay, 30, _error(30))
        assert (await second[REPLAYS].get(replay.number)).position == 20
        assert await second[REPLAYS].errors(replay.number) == []

    async def test_an_advance_is_taken_back_with_its_transaction(self, harness: StoresHarness) -> None:
        """Together with the effects of its events."""
        replay = await _begun(harness.first)
        with pytest.raises(RuntimeError):
            async with harness.first.database.begin() as db_tx:
                await harness.first[REPLAYS].advance(db_tx, replay, 20, applied=1, failed=[_error(20)])
                raise RuntimeError
        assert await harness.first[REPLAYS].get(replay.number) == replay
        assert await harness.first[REPLAYS].errors(replay.number) == []

    async def test_errors_are_listed_page_by_page(self, harness: StoresHarness) -> None:
        """In order of position."""
        replay = await _begun(harness.first)
        errors = [_error(position) for position in (11, 15, 19)]
        await _advance(harness.first, replay, 20, *reversed(errors))
        assert list(await harness.first[REPLAYS].errors(replay.number, limit=2)) == errors[:2]
        assert list(await harness.first[REPLAYS].errors(replay.number, after=15)) == errors[2:]
        assert await harness.first[REPLAYS].errors(replay.number + 1) == []

    async def test_one_that_has_ended_does_not_move(self, harness: StoresHarness) -> None:
        """And it cannot be ended again."""
        replay = await _begun(harness.first)
        assert (await _end(harness.first, replay.number)).state is ReplayState.DONE
        with pytest.raises(ConcurrencyConflict):
            await _advance(harness.first, replay, 20)
        with pytest.raises(ConcurrencyConflict):
            await _end(harness.first, replay.number, ReplayState.CANCELLED)

    async def test_a_cancelled_one_goes_on(self, harness: StoresHarness) -> None:
        """From its position; a finished one cannot."""
        replay = await _advance(harness.first, await _begun(harness.first), 20)
        await _end(harness.first, replay.number, ReplayState.CANCELLED)
        for _ in range(2):
            async with harness.first.database.begin() as db_tx:
                again = await harness.first[REPLAYS].restart(db_tx, replay.number)
            assert (again.state, again.position) == (ReplayState.RUNNING, 20)
        await _end(harness.first, replay.number)
        with pytest.raises(ConcurrencyConflict):
            async with harness.first.database.begin() as db_tx:
                await harness.first[REPLAYS].restart(db_tx, replay.number)

    async def test_its_tables_are_known(self, harness: StoresHarness) -> None:
        """So that they can be dropped by a process without the projection."""
        replay = await _begun(harness.first)
        async with harness.first.database.begin() as db_tx:
            await harness.first[REPLAYS].set_tables(db_tx, replay.number, ["order_summary__r1"])
        assert (await harness.first[REPLAYS].get(replay.number)).tables == ("order_summary__r1",)

    async def test_the_newest_come_first(self, harness: StoresHarness) -> None:
        """Those of one projection, or all."""
        first, second, other = (
            await _begun(harness.first),
            await _begun(harness.first),
            await _begun(harness.first, projection="sales"),
        )
        found = await harness.first[REPLAYS].find()
        assert [each.number for each in found] == [other.number, second.number, first.number]
        of_one = await harness.first[REPLAYS].find("order-summary", limit=1)
        assert [each.number for each in of_one] == [second.number]

    async def test_delete_takes_the_errors_along(self, harness: StoresHarness) -> None:
        """A running replay is not deleted."""
        replay = await _begun(harness.first)
        await _advance(harness.first, replay, 20, _error(20))
        with pytest.raises(ConcurrencyConflict):
            async with harness.first.database.begin() as db_tx:
                await harness.first[REPLAYS].delete(db_tx, replay.number)
        await _end(harness.first, replay.number, ReplayState.CANCELLED)
        async with harness.first.database.begin() as db_tx:
            deleted = await harness.first[REPLAYS].delete(db_tx, replay.number)
            assert await harness.first[REPLAYS].delete(db_tx, replay.number) is None
        assert deleted is not None
        assert deleted.number == replay.number
        assert await harness.first[REPLAYS].errors(replay.number) == []

    async def test_what_is_not_there_is_said_to_be(self, harness: StoresHarness) -> None:
        """By every method that takes a number."""
        with pytest.raises(NotFound):
            await harness.first[REPLAYS].get(12345)
        with pytest.raises(NotFound):
            await _end(harness.first, 12345)
        with pytest.raises(NotFound):
            async with harness.first.database.begin() as db_tx:
                await harness.first[REPLAYS].restart(db_tx, 12345)

    async def test_those_that_ended_long_ago_are_pruned(self, harness: StoresHarness) -> None:
        """With their errors; but not a running one, and not one with tables of its own."""
        replays = harness.first[REPLAYS]
        done, cancelled, running, owning = [await _begun(harness.first) for _ in range(4)]
        for each in (done, owning):
            await _advance(harness.first, each, 20, _error(15), _error(16))
        async with harness.first.database.begin() as db_tx:
            await replays.set_tables(db_tx, owning.number, ["order_summary__r4"])
        await _end(harness.first, cancelled.number, ReplayState.CANCELLED)
        harness.clock.advance(10)
        await _end(harness.first, done.number)
        await _end(harness.first, owning.number)
        harness.clock.advance(55)
        assert await replays.prune(60, limit=10) == 1
        assert {each.number for each in await replays.find()} == {done.number, running.number, owning.number}
        harness.clock.advance(10)
        assert await replays.prune(60, limit=1) == 1
        assert len(await replays.errors(done.number)) == 1
        assert await replays.prune(60, limit=10) == 2
        assert await replays.prune(60, limit=10) == 0
        assert {each.number for each in await replays.find()} == {running.number, owning.number}
        assert len(await replays.errors(owning.number)) == 2
