"""Spans of history read again: into tables of their own and into the live read model, through errors and kills."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.forking import forked
from tests.integration.projection.dying import Doom, killed
from tests.integration.projection.models import append, caught_up, read_model, rows, settings_for, until

from freehold import Retry, RunningService
from freehold.audit.store import AUDIT
from freehold.clock import SystemClock
from freehold.errors import ConcurrencyConflict, ConfigurationError, DatabaseError, NotFound
from freehold.eventstore.store import EVENTS, Page
from freehold.projection.declaration import Projection
from freehold.projection.operations import ProjectionOperations
from freehold.projection.replay import TimeRange
from freehold.projection.replay_operations import ReplayOperations
from freehold.projection.replay_store import REPLAYS, Replay, ReplayState

WHO: Any = {"actor": "ann", "reason": "a test"}
EVERYTHING = TimeRange()


def replays_of(running: RunningService) -> ReplayOperations:
    return ReplayOperations(ProjectionOperations(running.context))


async def carried_out(replays: ReplayOperations, replay: Replay) -> Replay:
    async for now in replays.steps(replay):
        replay = now
    return replay


async def read(running: RunningService, statement: str) -> list[Any]:
    async with running.transaction() as tx:
        return [tuple(row) for row in await tx.sql.fetch(statement)]


async def test_a_span_is_replayed_into_tables_of_its_own(url: str) -> None:
    model = read_model(batch_limit=7)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", *range(20))
        between = datetime.now(UTC)
        await append(running, "a", *range(20, 35))
        await append(running, "b", *range(35, 50))
        until_then = datetime.now(UTC)
        await append(running, "a", 50)
        await until(lambda: caught_up(running, model))
        replays = replays_of(running)
        begun = await replays.begin("accounts", TimeRange(between, until_then), "new", **WHO)
        assert begun.tables == ("account__r1", "entry__r1")
        assert await replays.left(begun, 1000) == 30
        await append(running, "a", 51)
        done = await carried_out(replays, begun)
        assert (done.state, done.applied, done.failed) == (ReplayState.DONE, 30, 0)
        assert [row[0] for row in await read(running, "SELECT amount FROM entry__r1 ORDER BY position")] == list(
            range(20, 50)
        )
        await until(lambda: caught_up(running, model))
        assert len(await rows(running, model.entries)) == 52
        await replays.drop(done.number, **WHO)
        with pytest.raises(DatabaseError):
            await read(running, "SELECT * FROM entry__r1")
        actions = [each.action for each in await running.stores[AUDIT].find("accounts/r1", 10)]
        assert sorted(actions) == ["projection.replay", "projection.replay-drop"]


async def test_errors_are_kept_and_do_not_stop_it(url: str) -> None:
    poison: set[int] = set()
    model = read_model(batch_limit=7, poison=poison)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", *range(40))
        await until(lambda: caught_up(running, model))
        poison.update({3, 4, 20})
        replays = replays_of(running)
        done = await carried_out(replays, await replays.begin("accounts", EVERYTHING, "new", **WHO))
        assert (done.state, done.applied, done.failed) == (ReplayState.DONE, 37, 3)
        errors = await running.stores[REPLAYS].errors(done.number)
        assert [(each.stream, each.version, each.type, each.error) for each in errors] == [
            ("account-a", 4, "bank.deposited", "ValueError"),
            ("account-a", 5, "bank.deposited", "ValueError"),
            ("account-a", 21, "bank.deposited", "ValueError"),
        ]
        assert all("models.py" in each.detail and "planned" not in each.detail for each in errors)
        assert (await read(running, "SELECT count(*) FROM entry__r1"))[0][0] == 37


async def test_into_the_live_read_model(url: str) -> None:
    model = read_model(batch_limit=7)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", *range(20))
        await until(lambda: caught_up(running, model))
        async with running.transaction() as tx:
            await tx.sql.execute("DELETE FROM entry__g1 WHERE amount >= 10")
            await tx.sql.execute("DELETE FROM account__g1")
        between = (await running.stores[EVENTS].read_all(0)).events[9].recorded_at
        replays = replays_of(running)
        begun = await replays.begin("accounts", TimeRange(begins=between), "live", **WHO)
        done = await carried_out(replays, begun)
        # Events were recorded ten and more at the same moment; what was there already cannot be written a second time.
        assert done.state is ReplayState.DONE
        assert done.tables == ()
        assert len(await rows(running, model.entries)) == 20
        assert done.applied + done.failed == await running.stores[EVENTS].count(0, done.end)


async def test_into_the_live_one_goes_nothing_that_it_has_not_come_to(url: str) -> None:
    model = read_model(batch_limit=7)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", *range(20))
        await until(lambda: caught_up(running, model))
        await ProjectionOperations(running.context).pause("accounts", **WHO)
        await append(running, "b", 100, 101)
        replays = replays_of(running)
        done = await carried_out(replays, await replays.begin("accounts", EVERYTHING, "live", **WHO))
        assert (done.state, done.end) == (ReplayState.DONE, 20)
        assert [row[2] for row in await rows(running, model.entries)] == list(range(20))


async def test_into_the_live_one_goes_nothing_behind_a_poison_event(url: str) -> None:
    model = read_model(poison={2}, retry=Retry(attempts=1))
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, 3)
        await append(running, "b", 4)
        await until(lambda: caught_up(running, model))
        async with running.transaction() as tx:
            for table in ("entry__g1", "account__g1"):
                await tx.sql.execute(f"DELETE FROM {table}")
        replays = replays_of(running)
        done = await carried_out(replays, await replays.begin("accounts", EVERYTHING, "live", **WHO))
        assert (done.applied, done.failed) == (2, 2)
        assert [row[2] for row in await rows(running, model.entries)] == [1, 4]
        errors = await running.stores[REPLAYS].errors(done.number)
        assert [(each.version, each.error) for each in errors] == [(2, "StreamParked"), (3, "StreamParked")]


async def test_a_cancelled_one_goes_on_where_it_stood(url: str) -> None:
    model = read_model(batch_limit=7)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", *range(40))
        await until(lambda: caught_up(running, model))
        replays = replays_of(running)
        begun = await replays.begin("accounts", EVERYTHING, "new", **WHO)
        steps = replays.steps(begun)
        first = await anext(steps)
        assert first.applied == 7
        await replays.cancel(begun.number, **WHO)
        with pytest.raises(ConcurrencyConflict):
            await anext(steps)
        assert (await running.stores[REPLAYS].get(begun.number)).applied == 7
        again = await replays.restart(begun.number, **WHO)
        done = await carried_out(replays, again)
        assert (done.state, done.applied) == (ReplayState.DONE, 40)
        with pytest.raises(ConcurrencyConflict):
            await replays.restart(begun.number, **WHO)


async def test_two_who_carry_out_one_apply_each_event_once(url: str) -> None:
    model = read_model(batch_limit=3)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", *range(60))
        await until(lambda: caught_up(running, model))
        replays = replays_of(running)
        begun = await replays.begin("accounts", EVERYTHING, "new", **WHO)
        outcomes = await asyncio.gather(
            carried_out(replays, begun), carried_out(replays, begun), return_exceptions=True
        )
        assert sum(isinstance(each, ConcurrencyConflict) for each in outcomes) <= 2
        if (await running.stores[REPLAYS].get(begun.number)).state is ReplayState.RUNNING:
            await carried_out(replays, await running.stores[REPLAYS].get(begun.number))
        done = await running.stores[REPLAYS].get(begun.number)
        assert (done.state, done.applied, done.failed) == (ReplayState.DONE, 60, 0)
        assert [row[1:] for row in await read(running, "SELECT account, events, version FROM account__r1")] == [
            (60, 60)
        ]


async def test_a_switch_meanwhile_ends_a_replay_into_the_live_one(url: str) -> None:
    model = read_model(batch_limit=3)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", *range(10))
        await until(lambda: caught_up(running, model))
        actions = ProjectionOperations(running.context)
        replays = ReplayOperations(actions)
        begun = await replays.begin("accounts", EVERYTHING, "live", **WHO)
        await actions.rebuild("accounts", **WHO)
        await actions.switch("accounts", **WHO)
        with pytest.raises(ConcurrencyConflict, match="not live any more"):
            await carried_out(replays, begun)
        assert len(await rows(running, model.entries)) == 10


async def test_what_cannot_be_replayed_is_refused(url: str) -> None:
    model = read_model()
    bare = Projection("bare")
    model.service.projections["bare"] = bare
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        replays = replays_of(running)
        with pytest.raises(ConfigurationError, match="no tables"):
            await replays.begin("bare", EVERYTHING, "new", **WHO)
        with pytest.raises(ConfigurationError, match="not declared"):
            await replays.begin("other", EVERYTHING, "new", **WHO)
        with pytest.raises(NotFound, match="has not run"):
            await replays.begin("accounts", EVERYTHING, "live", **WHO)
        with pytest.raises(NotFound):
            await replays.drop(7, **WHO)


def test_spans_that_cannot_be_meant() -> None:
    now = datetime.now(UTC)
    with pytest.raises(ConfigurationError, match="before it begins"):
        TimeRange(now, now - timedelta(seconds=1))
    with pytest.raises(ConfigurationError, match="zone"):
        TimeRange(begins=now.replace(tzinfo=None))


async def test_a_killed_one_is_resumed(url: str) -> None:
    """A process of its own carries it out; it is killed in the middle, several times."""
    model = read_model(batch_limit=5)
    async with RunningService(model.service, settings_for(url)) as running:
        for start in range(0, 1500, 300):
            await append(running, f"a{start % 7}", *range(start, start + 300))
        await until(lambda: caught_up(running, model))
        replays = replays_of(running)
        begun = await replays.begin("accounts", EVERYTHING, "new", **WHO)
        for kill_at in (100, 500, 900):
            process = await forked("tests.integration.projection.test_replay", url, str(begun.number), str(kill_at))
            assert killed(await asyncio.wait_for(process.wait(), 90))
            left = await running.stores[REPLAYS].get(begun.number)
            assert left.state is ReplayState.RUNNING
            assert left.applied >= kill_at
        done = await carried_out(replays, await replays.restart(begun.number, **WHO))
        assert (done.state, done.applied, done.failed) == (ReplayState.DONE, 1500, 0)
        replayed = await read(running, "SELECT account, balance, events, version FROM account__r1 ORDER BY account")
        assert replayed == await rows(running, model.accounts)


async def _main(url: str, number: int, kill_at: int) -> None:
    model = read_model(batch_limit=5)
    doom = Doom(kill_at, within=300)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        replays = replays_of(running)
        replay = await replays.restart(number, **WHO)
        doom.handled(replay.applied)
        async for now in replays.steps(replay):
            doom.handled(now.applied - replay.applied)
            replay = now


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], *map(int, sys.argv[2:])))


async def test_what_is_not_settled_yet_is_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pause between two looks."""
    model = read_model()
    async with RunningService(model.service, settings_for(url), roles=("projections",)) as running:
        await append(running, "a", *range(20))
        await until(lambda: caught_up(running, model))
        events, unsettled, pauses = running.stores[EVENTS], [1, 2, 3], list[float]()
        read_all = events.read_all

        async def reading(after: int, **options: Any) -> Page:
            if unsettled:
                unsettled.pop()
                return Page((), after)
            return await read_all(after, **options)

        class Counting(SystemClock):
            async def sleep(self, seconds: float) -> None:
                pauses.append(seconds)

        actions = ProjectionOperations(running.context)
        replays = ReplayOperations(actions, Counting())
        begun = await replays.begin("accounts", EVERYTHING, "new", **WHO)
        monkeypatch.setattr(events, "read_all", reading)
        done = await carried_out(replays, begun)
        assert (done.state, done.applied) == (ReplayState.DONE, 20)
        assert len(pauses) == 3
