"""A read model that follows the events, on real engines: everything once, in order, with its checkpoint."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.projection.engines import WITH_MARIADB, empty_database
from tests.integration.projection.models import (
    Deposited,
    Noted,
    append,
    caught_up,
    read_model,
    rows,
    settings_for,
    until,
)

from freehold import RunningService, lifecycle
from freehold.errors import ConcurrencyConflict
from freehold.eventstore.store import EVENTS
from freehold.leases.store import LEASES
from freehold.outbox.store import OUTBOX
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.generations import begin_first
from freehold.projection.service_runner import ProjectionCoordinator
from freehold.projection.store import CHECKPOINTS, GenerationState
from freehold.projection.tables import PlacedTables
from freehold.sql import SQL


@pytest.fixture(params=WITH_MARIADB)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return empty_database(request, tmp_path)


@pytest.mark.parametrize("batch", [False, True])
async def test_it_follows_from_the_first_event_on(url: str, batch: bool) -> None:
    model = read_model(batch=batch)
    async with RunningService(model.service, settings_for(url)) as running:
        for number in range(30):
            await append(running, f"a{number % 5}", number, number + 1)
        await until(lambda: caught_up(running, model))
        accounts = await rows(running, model.accounts)
        assert [(account, events, version) for account, _, events, version in accounts] == [
            (f"a{number}", 12, 12) for number in range(5)
        ]
        assert sum(balance for _, balance, _, _ in accounts) == sum(2 * number + 1 for number in range(30))
        assert len(await rows(running, model.entries)) == 60
        checkpoints = await running.stores[CHECKPOINTS].checkpoints()
        assert sum(each.handled for each in checkpoints) == 60


async def test_a_restart_goes_on_where_it_stood(url: str) -> None:
    model = read_model(batch_limit=3)
    for turn in range(3):
        async with RunningService(model.service, settings_for(url)) as running:
            await append(running, "a", *range(5))
            await append(running, "b", turn)
            await until(lambda: caught_up(running, model))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        assert [row[2:] for row in await rows(running, model.accounts)] == [(15, 15), (3, 3)]
        generations = await running.stores[CHECKPOINTS].generations()
        assert [(each.number, each.version, each.reason) for each in generations] == [(1, 1, "first start")]


async def test_instances_that_start_together_make_it_once(url: str) -> None:
    model = read_model()
    async with (
        RunningService(model.service, settings_for(url)) as one,
        RunningService(model.service, settings_for(url)) as other,
    ):
        for number in range(20):
            await append(one if number % 2 else other, f"a{number}", number)
        await until(lambda: caught_up(other, model))
        assert len(await rows(one, model.entries)) == 20
        assert len(await one.stores[CHECKPOINTS].generations()) == 1
        await until(lambda: _shared(one))


async def _shared(running: RunningService) -> bool:
    leases = await running.stores[LEASES].list("projection/accounts/1/")
    return len({lease.owner for lease in leases if "member" not in lease.name and lease.owner}) == 2


async def test_events_of_others_move_the_checkpoint(url: str) -> None:
    """So that a token that stands behind them is not waited for in vain."""
    model = read_model()
    async with RunningService(model.service, settings_for(url)) as running:
        async with running.transaction() as tx:
            tx.append("note-1", Noted("a", "not followed"))
            tx.append("account-a", Noted("a", "not handled"))
        await until(lambda: caught_up(running, model))
        assert await running.stores[EVENTS].high_water_mark() > 0
        assert await rows(running, model.accounts) == []


async def test_started_now_leaves_out_what_was(url: str) -> None:
    model = read_model(start="now")
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await append(running, "a", 1, 2)
    async with RunningService(model.service, settings_for(url)) as running:
        await until(lambda: caught_up(running, model))
        await append(running, "a", 3)
        await until(lambda: caught_up(running, model))
        assert [row[2] for row in await rows(running, model.entries)] == [3]


async def test_a_paused_projection_stands_still(url: str) -> None:
    model = read_model()
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
        checkpoints = running.stores[CHECKPOINTS]
        async with running.stores.database.begin() as db_tx:
            await checkpoints.pause(db_tx, "accounts", reason="drill", actor="me")
        stood = await checkpoints.checkpoints()
        await append(running, "a", 2)
        async with running.stores.database.begin() as db_tx:
            await checkpoints.resume(db_tx, "accounts")
        assert [each.position for each in stood] == [each.position for each in await checkpoints.checkpoints()]
        await until(lambda: caught_up(running, model))
        assert len(await rows(running, model.entries)) == 2


async def test_another_version_of_the_code_leaves_it_alone(url: str) -> None:
    """Whoever has the code of the live version runs it; this one says so."""
    async with RunningService(read_model(version=2).service, settings_for(url)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, read_model()))
    older = read_model(version=1)
    async with RunningService(older.service, settings_for(url)) as running:
        await append(running, "a", 2)
        follower = _follower(running)
        await until(lambda: _left(follower))
        assert follower.left_to_others == {"accounts": 2}
        assert len(await rows(running, older.entries)) == 1


async def _left(follower: ProjectionCoordinator) -> object:
    return follower.left_to_others


async def test_effects_come_from_the_live_generation_only(url: str) -> None:
    """Their correlation goes on, and the event that caused them is named."""
    model = read_model()
    handler = model.projection.handlers[Deposited]
    told: list[object] = []

    async def telling(event: Deposited, write: ProjectionContext) -> None:
        await handler(event, write)
        told.append(write.publish(Noted(event.account, "seen")))

    model.projection.handlers[Deposited] = telling
    async with RunningService(model.service, settings_for(url), roles=("projections",)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
        async with running.stores.database.begin() as db_tx:
            await PlacedTables(running.stores, model.projection.tables).create(db_tx, 2)
            await running.stores[CHECKPOINTS].create(
                db_tx, "accounts", 2, version=1, partitions=4, state=GenerationState.BUILDING
            )
        await until(lambda: caught_up(running, model))
        assert len(told) == 2
        assert told[0] is not None
        assert told[1] is None
        assert (await running.stores[OUTBOX].stats()).pending == 1
        suppressed = [each.invoker.suppressed for each in _follower(running).generations]
        assert suppressed == [0, 1]


def _follower(running: RunningService) -> ProjectionCoordinator:
    (found,) = [each for each in running.loops.running["projections"] if isinstance(each, ProjectionCoordinator)]
    return found


async def test_a_building_generation_never_passes_the_live_one(url: str) -> None:
    model = read_model()
    async with RunningService(model.service, settings_for(url), roles=("projections",)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
        checkpoints = running.stores[CHECKPOINTS]
        async with running.stores.database.begin() as db_tx:
            await checkpoints.pause(db_tx, "accounts", 1, reason="drill", actor="me")
            await PlacedTables(running.stores, model.projection.tables).create(db_tx, 2)
            await checkpoints.create(db_tx, "accounts", 2, version=1, partitions=4, state=GenerationState.BUILDING)
        live = [each.position for each in await checkpoints.checkpoints("accounts", 1)]
        await append(running, "a", 2)

        async def there() -> bool:
            return [each.position for each in await checkpoints.checkpoints("accounts", 2)] == live

        await until(there)
        async with running.stores.database.begin() as db_tx:
            await checkpoints.resume(db_tx, "accounts", 1)
        await until(lambda: caught_up(running, model))


def _blocked() -> tuple[Projection, sa.Table]:
    """A projection whose table's name may be in use."""
    table = sa.Table("in_the_way", sa.MetaData(), sa.Column("account", sa.Text, primary_key=True))
    blocked = Projection("blocked", tables=(table,), partitions=1)

    @blocked.on(Deposited)
    async def deposited(event: Deposited, write: ProjectionContext) -> None:
        await write.connection.execute(write.table(table).insert().values(account=event.account))

    return blocked, table


async def _define(running: RunningService, statement: str) -> None:
    """Outside of a transaction: on MariaDB the statement would end it."""
    async with running.stores[SQL].direct() as connection:
        await connection.execute(statement)


async def test_one_that_cannot_start_does_not_hold_up_the_others(url: str) -> None:
    """It is told, and starts when what was in its way is gone."""
    model = read_model()
    blocked, table = _blocked()
    model.service.projects(blocked)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await _define(running, "CREATE TABLE in_the_way (account text)")
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
        assert len(await rows(running, model.entries)) == 1
        assert list(_follower(running).problems) == ["blocked"]
        await _define(running, "DROP TABLE in_the_way")

        async def there() -> bool:
            found = await running.stores[CHECKPOINTS].checkpoints("blocked")
            return bool(found) and found[0].handled == 1

        await until(there)
        assert await rows(running, table) == [("a",)]
        runners = (await running.health()).runners
        assert {"projection accounts g1", "projection blocked g1"} <= set(runners)


async def test_what_cannot_start_is_told_all_the_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it is tried again: whoever looks just then must not take it for mended."""
    model = read_model()
    model.service.projects(_blocked()[0])
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await _define(running, "CREATE TABLE in_the_way (account text)")
    monkeypatch.setattr(lifecycle, "FAILING_SECONDS_MAX", 0.0)
    async with RunningService(model.service, settings_for(url)) as running:
        await until(lambda: _blocked_is_told(running))
        problems = (await running.readiness()).problems
        assert problems.keys() == {"projections bank"}
        assert problems["projections bank"].startswith("projection 'blocked' has failed for")
        checkpoints, told = running.stores[CHECKPOINTS], list[list[str]]()
        generations = checkpoints.generations

        async def watched(*given: Any, **named: Any) -> Any:
            told.append(list(_follower(running).problems))
            return await generations(*given, **named)

        monkeypatch.setattr(checkpoints, "generations", watched)
        _follower(running).refresh()
        await until(lambda: _several(told))
        assert {tuple(each) for each in told} == {("blocked",)}


async def _blocked_is_told(running: RunningService) -> bool:
    return list(_follower(running).problems) == ["blocked"]


async def _several(told: list[list[str]]) -> bool:
    return len(told) > 10


async def test_a_beginning_that_is_always_in_conflict_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No start waits for ever."""
    model = read_model()
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        stores, tried = running.stores, list[int]()

        async def conflicting(*_: Any, **__: Any) -> Any:
            tried.append(1)
            raise ConcurrencyConflict("planned")

        monkeypatch.setattr(stores[CHECKPOINTS], "create", conflicting)
        async with asyncio.timeout(60.0):
            with pytest.raises(ConcurrencyConflict, match="planned"):
                await begin_first(model.projection, stores)
        assert 1 < len(tried) < 100
