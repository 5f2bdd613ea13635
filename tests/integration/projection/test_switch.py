"""The switch and what is around it, where something is in the way: reads that end early, other code, errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.projection.beside import WHO, actions_of
from tests.integration.projection.engines import WITH_MARIADB, empty_database
from tests.integration.projection.models import (
    Deposited,
    Noted,
    ReadModel,
    append,
    caught_up,
    read_model,
    rows,
    settings_for,
    until,
)
from tests.integration.projection.sinks import FileSink, sinking

from freehold import Retry, RunningService
from freehold.context import ServiceContext
from freehold.errors import ConcurrencyConflict, ConfigurationError, Unavailable
from freehold.eventstore.store import EVENTS, EVERYTHING, EventFilter, EventStore, Page
from freehold.leases.store import LEASES
from freehold.outbox.store import OUTBOX
from freehold.projection import generations, rebuild_runner
from freehold.projection.declaration import Projection, ProjectionContext
from freehold.projection.generations import NotCaughtUp
from freehold.projection.key_rebuild import rebuild_key
from freehold.projection.operations import ProjectionOperations
from freehold.projection.rebuild_runner import RebuildRunner
from freehold.projection.store import CHECKPOINTS, CheckpointStore, Generation, GenerationState


@pytest.fixture(params=WITH_MARIADB)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return empty_database(request, tmp_path)


async def states(running: RunningService, name: str = "accounts") -> dict[int, str]:
    return {each.number: each.state.value for each in await running.stores[CHECKPOINTS].generations(name)}


class Hesitant:
    """Reads of the event store that end before their limit: while somebody appends, or in a long history."""

    def __init__(self, store: EventStore, through: Callable[[int], int]) -> None:
        self._store = store
        self._through = through

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        page = await self._store.read_all(after, limit=limit, event_filter=event_filter)
        through = max(after, min(page.end_position, self._through(after)))
        return Page(tuple(event for event in page.events if event.position <= through), through)


async def _ready_to_switch(url: str, model: ReadModel) -> None:
    """A live generation that has everything, and one beside it that has nothing yet."""
    async with RunningService(model.service, settings_for(url)) as running:
        for number in range(60):
            await append(running, f"a{number % 7}", number)
        await until(lambda: caught_up(running, model))
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await actions_of(running).rebuild("accounts", **WHO)


async def test_a_read_that_ends_early_loses_nothing_at_the_switch(url: str) -> None:
    model = read_model(partitions=2)
    await _ready_to_switch(url, model)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        hesitant: Any = Hesitant(running.stores[EVENTS], lambda after: after + 7)
        await _actions_with(running, hesitant).switch("accounts", **WHO)
        assert sorted(row[2] for row in await rows(running, model.entries)) == list(range(60))


async def test_what_is_not_settled_yet_is_waited_for_at_the_switch(url: str) -> None:
    model = read_model(partitions=2)
    await _ready_to_switch(url, model)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        hesitant: Any = Hesitant(running.stores[EVENTS], lambda _: 30)
        with pytest.raises(NotCaughtUp):
            await _actions_with(running, hesitant).switch("accounts", **WHO)
        assert await states(running) == {1: "live", 2: "building"}


def _actions_with(running: RunningService, events: EventStore) -> ProjectionOperations:
    stores = running.stores.replacing(EVENTS, events)
    return ProjectionOperations(ServiceContext(running.service.name, stores, declared=running.service.of))


async def test_the_switch_holds_back_what_the_live_one_has_done(url: str) -> None:
    """A handler is told so, too: it may have effects of its own."""
    model = read_model(partitions=2)
    await _ready_to_switch(url, model)
    handler = model.projection.handlers[Deposited]
    told: list[tuple[int, bool, object]] = []

    async def telling(event: Deposited, write: ProjectionContext) -> None:
        told.append((write.generation, write.live, write.publish(Noted(event.account, "seen"))))
        await handler(event, write)

    model.projection.handlers[Deposited] = telling
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await actions_of(running).switch("accounts", **WHO)
        assert told == [(2, False, None)] * 60
        assert (await running.stores[OUTBOX].stats()).pending == 0


async def test_parked_streams_are_left_to_the_code_that_parked_them(url: str) -> None:
    """Newer handlers in older tables would write who knows what."""
    poison = {2}
    model = read_model(poison=poison, retry=Retry(attempts=1))
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, 3)
        await until(running.stores[CHECKPOINTS].parked)
    newer = read_model(version=2)
    async with RunningService(newer.service, settings_for(url), roles=()) as running:
        for action in (actions_of(running).retry, actions_of(running).skip):
            with pytest.raises(ConfigurationError, match="version 1 of"):
                await action("accounts", "account-a", **WHO)
        assert [row[2] for row in await rows(running, newer.entries)] == [1]
    poison.clear()
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        ((number, outcome),) = await actions_of(running).retry("accounts", "account-a", **WHO)
        assert (number, outcome.released) == (1, True)


async def test_one_that_cannot_be_brought_forward_does_not_hold_up_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises: a handler's error in the switch, a sink's at the drop."""
    first = read_model()
    async with RunningService(first.service, settings_for(url)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, first))
    newer = read_model(version=2)

    async def failing(db_tx: Any, store: Any, projection: Projection, *, reason: str) -> Any:
        if projection.name == "failing":
            raise ValueError("planned")
        return await generations.begin(db_tx, store, projection, reason=reason)

    monkeypatch.setattr(rebuild_runner, "begin", failing)
    other = Projection("failing", version=2, tables=(), categories={"account"})
    async with RunningService(newer.service, settings_for(url), roles=()) as running:
        async with running.stores.database.begin() as db_tx:
            live = GenerationState.LIVE
            await running.stores[CHECKPOINTS].create(db_tx, "failing", 1, version=1, partitions=1, state=live)
        history = actions_of(running).history
        runner = RebuildRunner(
            "bank",
            running.stores.database,
            history,
            running.stores[LEASES],
            [other, newer.projection],
            retention_seconds=60,
            poll_seconds=0.05,
        )
        await runner.start()
        await until(lambda: _has(running, 2))
        assert isinstance(runner.last_error, ValueError)
        await runner.stop()


async def _has(running: RunningService, number: int) -> bool:
    return number in await states(running)


async def test_a_sink_that_cannot_be_reached_is_dropped_at_the_next_try(url: str, tmp_path: Path) -> None:
    """Its generation stays known until then: nothing would ever come back to it."""
    sink = FileSink(tmp_path / "balances.db")
    service, _ = sinking(sink)
    drop, away = sink.drop, [Unavailable("away")]

    async def dropping(generation: int) -> None:
        if away:
            raise away.pop()
        await drop(generation)

    sink.drop = dropping  # type: ignore[method-assign] # it is away once
    async with RunningService(service, settings_for(url), roles=("projections",)) as running:
        await append(running, "a", 1)
        await until(lambda: _has_balances(running))
        actions = actions_of(running)
        await actions.rebuild("balances", **WHO)
        await actions.cancel_rebuild("balances", **WHO)
        with pytest.raises(Unavailable):
            await actions.drop("balances", 2, **WHO)
        assert await states(running, "balances") == {1: "live", 2: "retired"}
        await actions.drop("balances", 2, **WHO)
        assert await states(running, "balances") == {1: "live"}


async def _has_balances(running: RunningService) -> bool:
    return 1 in await states(running, "balances")


async def test_a_key_is_not_made_anew_in_what_was_live_before(url: str) -> None:
    """Who waits for the checkpoint during a switch finds its generation retired."""
    model = read_model(key_columns={"account": "account", "entry": "account"})
    await _ready_to_switch(url, model)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        actions = actions_of(running)
        before = await running.stores[CHECKPOINTS].generations("accounts")
        await actions.switch("accounts", **WHO)
        late: Any = Late(running.stores[CHECKPOINTS], before)
        with pytest.raises(ConcurrencyConflict, match="not live any more"):
            async with running.stores.database.begin() as db_tx:
                await rebuild_key(
                    db_tx,
                    replace(actions.history, stores=actions.stores.replacing(CHECKPOINTS, late)),
                    model.projection,
                    "account-a1",
                )


class Late:
    """Checkpoints whose generations were looked at before the switch."""

    def __init__(self, store: CheckpointStore, generations: Sequence[Generation]) -> None:
        self._store = store
        self._generations = generations

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def generations(self, *_: Any, **__: Any) -> Sequence[Generation]:
        return self._generations


async def test_what_is_built_and_held_up_by_parked_streams_is_told_once(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A new version waits for an operator then, who sees it in the log, and in how it stands; afterwards it goes on."""
    first = read_model()
    async with RunningService(first.service, settings_for(url)) as running:
        await append(running, "a", 1, 2, 3)
        await until(lambda: caught_up(running, first))
    poison = {2}
    newer = read_model(version=2, poison=poison, retry=Retry(attempts=1))
    caplog.set_level(logging.WARNING, "freehold.projection")
    async with RunningService(newer.service, settings_for(url, poll_seconds=0.05)) as running:
        actions = actions_of(running)

        async def blocked_by_parked() -> bool:
            building = (await actions.read_status("accounts")).of("accounts", GenerationState.BUILDING)
            return building is not None and building.blocked_by_parked

        await until(blocked_by_parked)
        await until(_in_the_log(caplog))
        live = (await actions.read_status("accounts")).of("accounts", GenerationState.LIVE)
        assert live is not None
        assert not live.blocked_by_parked
        poison.clear()
        ((_, outcome),) = await actions.retry("accounts", "account-a", **WHO)
        assert outcome.released
        await until(lambda: _is_live(running, 2))
    assert _told(caplog) == 1


def _told(caplog: pytest.LogCaptureFixture) -> int:
    return sum("does not become live" in each.getMessage() for each in caplog.records)


def _in_the_log(caplog: pytest.LogCaptureFixture) -> Callable[[], Awaitable[bool]]:
    async def found() -> bool:
        return _told(caplog) > 0

    return found


async def _is_live(running: RunningService, number: int) -> bool:
    generations = await running.stores[CHECKPOINTS].generations("accounts")
    return any(each.number == number and each.state is GenerationState.LIVE for each in generations)
