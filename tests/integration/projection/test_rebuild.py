"""Generations built beside the live one, the switch: on both engines, with writers and readers at work."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
import sqlalchemy as sa
from tests.integration.projection.beside import (
    WHO,
    actions_of,
    all_rows,
    check_against_cold_fold,
    fill,
    live_is,
    states,
    up_to_date,
    writing,
)
from tests.integration.projection.models import (
    Deposited,
    Noted,
    ReadModel,
    append,
    read_model,
    rows,
    settings_for,
    until,
)

from freehold import Retry, RunningService, Service
from freehold.audit.store import AUDIT
from freehold.errors import ConcurrencyConflict, ConfigurationError, DatabaseError, NotFound
from freehold.eventstore.store import EVENTS
from freehold.leases.store import LEASES
from freehold.messages import decode_envelope
from freehold.projection import generations
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.generations import NotCaughtUp, drop
from freehold.projection.operations import ProjectionOperations
from freehold.projection.rebuild_runner import RebuildRunner, is_caught_up
from freehold.projection.status import read_status, with_rates
from freehold.projection.store import CHECKPOINTS, GenerationState
from freehold.sql import SQL


async def look_on(running: RunningService, model: ReadModel, seen: list[int]) -> None:
    """Read the live position, then the view: it holds all through that position, and never goes back."""
    while True:
        found = [
            each
            for each in await running.stores[CHECKPOINTS].checkpoints("accounts")
            if each.state is GenerationState.LIVE
        ]
        position = min((each.position for each in found), default=0)
        assert position >= (seen[-1] if seen else 0)
        async with running.transaction() as tx:
            there = set(await tx.connection.scalars(sa.select(model.entries.c.position)))
        page = await running.stores[EVENTS].read_all(0, limit=100_000)
        assert {each.position for each in page.events if each.position <= position} <= there
        seen.append(position)
        await asyncio.sleep(0)


async def test_readers_never_go_back_while_it_is_rebuilt_and_switched_to(url: str) -> None:
    model = read_model(batch_limit=50)
    async with RunningService(model.service, settings_for(url, poll_seconds=0.02)) as running:
        await fill(running, 500)
        await until(lambda: up_to_date(running))
        actions = actions_of(running)
        seen: list[int] = []
        reader = asyncio.create_task(look_on(running, model, seen))
        async with writing(running) as written:
            for expected in (2, 3):
                made = await actions.rebuild("accounts", **WHO)
                assert made.number == expected
                await until(lambda: switched(actions))
                assert (await states(running))[expected] == "live"
                await until(partial(moved_on, seen, len(set(seen)) + 2))
        await until(lambda: up_to_date(running))
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert written
        assert await states(running) == {1: "retired", 2: "retired", 3: "live"}
        await check_against_cold_fold(running, model)


async def moved_on(seen: list[int], positions: int) -> bool:
    return len(set(seen)) >= positions


async def switched(actions: ProjectionOperations) -> bool:
    if not await is_caught_up(actions.history, "accounts"):
        return False
    try:
        await actions.switch("accounts", **WHO)
    except NotCaughtUp:
        return False
    return True


async def test_a_raised_version_is_rebuilt_and_shown_by_itself(url: str) -> None:
    first = read_model()
    async with RunningService(first.service, settings_for(url)) as running:
        await fill(running, 100)
        await until(lambda: up_to_date(running))
    second = read_model(version=2, partitions=8)
    async with RunningService(second.service, settings_for(url)) as running:
        await until(lambda: live_is(running, 2))
        await append(running, "a1", 5)
        await until(lambda: all_rows(running, second, 101))
        await check_against_cold_fold(running, second)
        (retired, live) = await running.stores[CHECKPOINTS].generations("accounts")
        assert (retired.state, live.version, live.partitions) == (GenerationState.RETIRED, 2, 8)
        assert live.reason == "version 2 is deployed"


async def test_a_newer_version_takes_the_place_of_one_that_is_not_finished(url: str) -> None:
    first = read_model()
    async with RunningService(first.service, settings_for(url)) as running:
        await fill(running, 10)
        await until(lambda: up_to_date(running))
    second = read_model(version=2)
    async with RunningService(second.service, settings_for(url), roles=()) as running:
        await actions_of(running).rebuild("accounts", **WHO)
    third = read_model(version=3)
    async with RunningService(third.service, settings_for(url)) as running:
        await until(lambda: live_is(running, 3))
        assert await states(running) == {1: "retired", 2: "retired", 3: "live"}
        await check_against_cold_fold(running, third)
    async with RunningService(second.service, settings_for(url), roles=()) as running:
        with pytest.raises(ConfigurationError, match="live in version 3"):
            await actions_of(running).rebuild("accounts", **WHO)


def telling() -> tuple[Service, Projection, sa.Table]:
    """A projection that says for each deposit that it was noted."""
    told = sa.Table("told", sa.MetaData(), sa.Column("amount", sa.Integer, primary_key=True))
    projection = Projection("told", tables=(told,), partitions=2, batch_limit=10)

    @projection.on(Deposited)
    async def deposited(event: Deposited, write: ProjectionContext) -> None:
        await write.connection.execute(write.table(told).insert().values(amount=event.amount))
        write.publish(Noted(event.account, str(event.amount)))

    service = Service("bank")
    service.projects(projection)
    return service, projection, told


async def test_side_effects_happen_once_across_the_switch(url: str) -> None:
    service, _, told = telling()
    async with RunningService(service, settings_for(url, poll_seconds=0.02), roles=["projections"]) as running:
        actions = actions_of(running)
        await append(running, "x", *range(50))
        await until(lambda: live_is(running, 1))
        async with writing(running) as written:
            for number in (2, 3, 4):
                await actions.rebuild("told", **WHO)
                # Left alone until it has read as much as there was: what the switch itself applies is something else.
                await until(partial(built, running, "told", number, 50))
                await until(lambda: tried(actions, "told"))
                assert (await states(running))[number] == "live"
                await append(running, "x", number + 100)
        count = 53 + len(written)
        await until(lambda: counted(running, told, count))
        async with running.stores[SQL].direct() as sql:
            documents = [bytes(row[0]) for row in await sql.fetch("SELECT document FROM freehold_outbox")]
        texts = sorted(int(str(decode_envelope(each).body.split(b'"text":"')[1][:-2], "ascii")) for each in documents)
        assert texts == sorted([*range(50), 102, 103, 104, *written])


async def built(running: RunningService, name: str, generation: int, events: int) -> bool:
    found = await running.stores[CHECKPOINTS].checkpoints(name, generation)
    return sum(each.handled for each in found) >= events


async def tried(actions: ProjectionOperations, name: str) -> bool:
    try:
        await actions.switch(name, **WHO)
    except NotCaughtUp:
        return False
    return True


async def counted(running: RunningService, table: sa.Table, count: int) -> bool:
    return len(await rows(running, table)) == count


async def test_the_last_events_are_applied_at_the_switch_itself(url: str) -> None:
    """Nobody runs the projection, so the generation is as far behind as it can be."""
    model = read_model()
    async with RunningService(model.service, settings_for(url)) as running:
        await fill(running, 60)
        await until(lambda: up_to_date(running))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        actions = actions_of(running)
        with pytest.raises(NotFound, match="no generation"):
            await actions.switch("accounts", **WHO)
        await actions.rebuild("accounts", **WHO)
        with pytest.raises(ConcurrencyConflict, match="being built already"):
            await actions.rebuild("accounts", **WHO)
        done = await actions.switch("accounts", **WHO)
        assert (done.retired.number, done.live.number, done.parked, done.effects_lost) == (1, 2, 0, 0)
        await check_against_cold_fold(running, model)
        audit = [(each.action, each.actor) for each in await running.stores[AUDIT].find(None, 10)]
        assert sorted(audit) == [("projection.rebuild", "ann"), ("projection.switch", "ann")]


async def test_what_is_far_behind_is_not_switched_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "_LAST_EVENTS_MAX", 5)
    model = read_model(partitions=1)
    async with RunningService(model.service, settings_for(url)) as running:
        await fill(running, 60)
        await until(lambda: up_to_date(running))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        actions = actions_of(running)
        await actions.rebuild("accounts", **WHO)
        for force in (False, True):
            with pytest.raises(NotCaughtUp, match="lags more than 5 events"):
                await actions.switch("accounts", force=force, **WHO)
        assert await states(running) == {1: "live", 2: "building"}
        await check_against_cold_fold(running, model)


async def test_a_parked_stream_keeps_it_from_being_shown_unless_forced(url: str) -> None:
    poison: set[int] = set()
    model = read_model(poison=poison, retry=Retry(attempts=1))
    async with RunningService(model.service, settings_for(url)) as running:
        await fill(running, 30)
        await until(lambda: up_to_date(running))
        poison.add(8)  # of a1, as its second event
        actions = actions_of(running)
        await actions.rebuild("accounts", **WHO)
        await until(lambda: is_caught_up(actions.history, "accounts"))
        await until(lambda: up_to_date(running))
        with pytest.raises(NotCaughtUp, match="'account-a1'"):
            await actions.switch("accounts", **WHO)
        await append(running, "a1", 1)
        await append(running, "a2", 1)
        done = await actions.switch("accounts", force=True, **WHO)
        assert done.parked == 1
        poison.clear()
        (outcome,) = await actions.retry("accounts", "account-a1", **WHO)
        assert outcome[0] == 2
        assert outcome[1].released
        await until(lambda: all_rows(running, model, 32))
        await check_against_cold_fold(running, model)


async def test_a_handler_that_fails_in_the_switch_takes_it_back(url: str) -> None:
    poison: set[int] = set()
    model = read_model(poison=poison)
    async with RunningService(model.service, settings_for(url)) as running:
        await fill(running, 30)
        await until(lambda: up_to_date(running))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await actions_of(running).rebuild("accounts", **WHO)
        poison.add(8)
        with pytest.raises(ValueError, match="planned"):
            await actions_of(running).switch("accounts", **WHO)
        assert await states(running) == {1: "live", 2: "building"}
        await check_against_cold_fold(running, model)


async def test_a_cancelled_rebuild_leaves_the_live_one(url: str) -> None:
    model = read_model()
    async with RunningService(model.service, settings_for(url), roles=["projections"]) as running:
        await fill(running, 30)
        await until(lambda: up_to_date(running))
        actions = actions_of(running)
        await actions.rebuild("accounts", **WHO)
        assert (await actions.cancel_rebuild("accounts", **WHO)).number == 2
        with pytest.raises(NotFound):
            await actions.cancel_rebuild("accounts", **WHO)
        assert await states(running) == {1: "live", 2: "retired"}
        with pytest.raises(ConcurrencyConflict, match="is live"):
            await actions.drop("accounts", 1, **WHO)
        await actions.drop("accounts", 2, **WHO)
        with pytest.raises(DatabaseError):
            async with running.transaction() as tx:
                await tx.sql.fetch("SELECT * FROM account__g2")
        await append(running, "a1", 3)
        await until(lambda: all_rows(running, model, 31))


async def test_retired_generations_are_dropped_after_a_while(url: str) -> None:
    model = read_model()
    async with RunningService(model.service, settings_for(url)) as running:
        await fill(running, 10)
        await until(lambda: up_to_date(running))
        actions = actions_of(running)
        await actions.rebuild("accounts", **WHO)
        await actions.switch("accounts", **WHO)
        runner = RebuildRunner(
            "bank",
            running.stores.database,
            actions.history,
            running.stores[LEASES],
            [model.projection],
            retention_seconds=0.0,
        )
        await runner.start()
        await until(lambda: only_live(running))
        await runner.stop()
        with pytest.raises(DatabaseError):
            async with running.transaction() as tx:
                await tx.sql.fetch("SELECT * FROM account__g1")
        await check_against_cold_fold(running, model)


async def only_live(running: RunningService) -> bool:
    return await states(running) == {2: "live"}


async def test_only_retired_generations_are_dropped(url: str) -> None:
    model = read_model()
    async with RunningService(model.service, settings_for(url)) as running:
        await until(lambda: live_is(running, 1))
        for number, error in ((1, ConcurrencyConflict), (2, NotFound)):
            with pytest.raises(error):
                async with running.transaction() as tx:
                    await drop(tx.db_tx, actions_of(running).history, model.projection, number)


async def test_how_far_behind_and_how_fast(url: str) -> None:
    model = read_model(partitions=2)
    async with RunningService(model.service, settings_for(url), roles=["projections"]) as running:
        await fill(running, 40)
        await until(lambda: up_to_date(running))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        actions = actions_of(running)
        assert (await actions.read_status("accounts")).generations[0].lag_events == 0
        await append(running, "a1", 1, 2, 3)
        await append(running, "a2", 1)
        await actions.rebuild("accounts", **WHO)
        before = await actions.read_status("accounts")
        live, building = before.generations
        assert (live.lag_events, live.handled, live.state) == (4, 40, GenerationState.LIVE)
        assert live.lag_seconds > 0
        assert (building.lag_events, building.position, building.events_per_second) == (44, 0, None)
        assert building.head == await running.stores[EVENTS].high_water_mark()
        await actions.switch("accounts", **WHO)
        after = with_rates(before, await actions.read_status("accounts"))
        (now,) = after.generations
        assert (now.generation.number, now.lag_events, now.handled) == (2, 4, 40)
        assert now.events_per_second is not None
        assert now.events_per_second > 0
        assert now.seconds_left is not None
        assert now.seconds_left > 0
        undeclared = await read_status(running.stores[CHECKPOINTS], running.stores[EVENTS], {}, running.context.clock)
        assert undeclared.generations[0].code_version is None
        with pytest.raises(NotFound):
            await actions.read_status("nothing")


async def test_a_projection_that_is_inline_is_not_rebuilt(url: str) -> None:
    model = read_model(inline=True)
    async with RunningService(model.service, settings_for(url)) as running:
        await append_inline(running, 5)
        with pytest.raises(ConfigurationError, match="inline"):
            await actions_of(running).rebuild("accounts", **WHO)


async def append_inline(running: RunningService, amount: int) -> None:
    async with running.transaction() as tx:
        tx.append("account-a", Deposited("a", amount))
