"""Going event by event behind somebody who did not come back, and with events that are in their own way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.projection.models import (
    Deposited,
    ReadModel,
    append,
    caught_up,
    read_model,
    rows,
    settings_for,
    until,
)
from tests.integration.projection.unleased import unleased

from freehold import Retry, RunningService
from freehold.errors import ConcurrencyConflict, OperationTimeout, Unavailable
from freehold.eventstore.store import EVENTS, bucket_of
from freehold.lifecycle import RunnerState
from freehold.projection.declaration import ProjectionContext
from freehold.projection.generation_runner import GenerationRunner
from freehold.projection.store import CHECKPOINTS, ParkedStream

_ATTEMPTS = 3


def _model(before: Callable[[Deposited], Awaitable[None]], **options: Any) -> ReadModel:
    """Deposits wait for `before` to return; it raises what is in the way of an event."""
    model = read_model(retry=Retry(attempts=_ATTEMPTS, delay_seconds=3600, delay_seconds_max=3600), **options)
    handler = model.projection.handlers[Deposited]

    async def guarded(event: Deposited, write: ProjectionContext) -> None:
        await before(event)
        await handler(event, write)

    model.projection.handlers[Deposited] = guarded
    return model


async def _the_parked(running: RunningService) -> ParkedStream:
    (found,) = await running.stores[CHECKPOINTS].parked()
    return found


async def _left_behind(running: RunningService, model: ReadModel) -> None:
    """As if somebody had set out from every checkpoint, and had not come back."""
    async with RunningService(model.service, settings_for(str(running.settings.database))) as starter:
        await until(lambda: caught_up(starter, model))
    async with running.stores.database.begin() as db_tx:
        for each in await running.stores[CHECKPOINTS].lock(db_tx, "accounts"):
            await running.stores[CHECKPOINTS].begin(db_tx, each)


@pytest.mark.parametrize("error", [OperationTimeout("too long"), ConcurrencyConflict("in its own way")], ids=repr)
async def test_an_event_that_is_in_its_own_way_is_parked(url: str, error: Exception) -> None:
    """A statement that always takes too long, or always waits for a lock that the handler itself holds."""
    tried: list[int] = []

    async def before(event: Deposited) -> None:
        if event.amount == 7:
            tried.append(event.amount)
            raise error

    model = _model(before)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await append(running, "a", 1, 7, 2)
        await append(running, "b", 1, 2)
    async with RunningService(model.service, settings_for(url)) as running:
        await until(lambda: caught_up(running, model))
        parked = await _the_parked(running)
        assert (parked.stream, parked.version, parked.error) == ("account-a", 2, type(error).__name__)
        assert parked.due_seconds is not None
        assert len(tried) >= _ATTEMPTS
        assert [row[:3] for row in await rows(running, model.accounts)] == [("a", 1, 1), ("b", 3, 2)]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit()], ids=repr)
async def test_what_is_no_exception_parks_its_stream(url: str, error: BaseException) -> None:
    """It would end the loop, and with it all streams, without a word."""

    async def before(event: Deposited) -> None:
        if event.amount == 7:
            raise error

    model = _model(before)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 7, 2)
        await append(running, "b", 1, 2)
        await until(lambda: caught_up(running, model))
        parked = await _the_parked(running)
        assert (parked.stream, parked.version, parked.error) == ("account-a", 2, "HandlerAborted")
        assert type(error).__name__ in parked.detail
        assert [row[:3] for row in await rows(running, model.accounts)] == [("a", 1, 1), ("b", 3, 2)]


async def test_what_says_nothing_of_an_event_does_not_count(url: str) -> None:
    """Also by itself: the attempt is taken back, and it comes again until it goes through."""
    failures = [Unavailable("away")] * (_ATTEMPTS + 2)

    async def before(event: Deposited) -> None:
        if event.amount == 7 and failures:
            raise failures.pop()

    model = _model(before)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await _left_behind(running, model)
        await append(running, "a", 1, 7, 2)
        async with RunningService(model.service, settings_for(url)) as working:
            await until(lambda: caught_up(working, model))
        assert failures == []
        assert await running.stores[CHECKPOINTS].parked() == []
        assert [row[1:] for row in await rows(running, model.accounts)] == [(10, 3, 3)]


async def test_a_doubt_lasts_beyond_what_one_read_looks_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition's next event may be far away: a read that came to none has not passed what the batch had."""
    monkeypatch.setattr("freehold.adapters.sql.indexed_events._WINDOW_MIN", 4)
    url, model = f"sqlite:///{tmp_path}/bank.db", read_model()
    names = [f"a{number}" for number in range(40)]
    rare = next(each for each in names if bucket_of(f"account-{each}") % 4 == 0)
    others = [each for each in names if bucket_of(f"account-{each}") % 4 != 0]
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await _left_behind(running, model)
        for _ in range(2):
            for other in others[:15]:
                await append(running, other, 1)
            await append(running, rare, 7)
        stored = (await running.stores[EVENTS].read_all(0)).events
        async with RunningService(model.service, settings_for(url)) as working:
            begin, alone = working.stores[CHECKPOINTS].begin, set[int]()

            async def noting(db_tx: Any, seen: Any, **named: int) -> Any:
                alone.add(named.get("isolated_position", 0))
                return await begin(db_tx, seen, **named)

            monkeypatch.setattr(working.stores[CHECKPOINTS], "begin", noting)
            await until(lambda: caught_up(working, model))
        assert {each.position for each in stored if each.stream == f"account-{rare}"} <= alone


async def test_an_outage_that_lasts_does_not_count(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is still away when the attempt is to be taken back: the process is there, and knows."""
    failures = [Unavailable("away")] * (_ATTEMPTS + 2)

    async def before(event: Deposited) -> None:
        if event.amount == 7 and failures:
            away.append(True)
            raise failures.pop()

    away: list[bool] = []
    model = _model(before)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await _left_behind(running, model)
        await append(running, "a", 1, 7, 2)
        async with RunningService(model.service, settings_for(url)) as working:
            begin = working.stores[CHECKPOINTS].begin

            async def failing(*given: Any, **named: Any) -> Any:
                if away:
                    raise Unavailable(f"still away {away.pop()}")
                return await begin(*given, **named)

            monkeypatch.setattr(working.stores[CHECKPOINTS], "begin", failing)
            await until(lambda: caught_up(working, model))
        assert failures == []
        assert await running.stores[CHECKPOINTS].parked() == []
        assert [row[1:] for row in await rows(running, model.accounts)] == [(10, 3, 3)]


async def test_an_outage_that_lasts_until_a_stop_does_not_count(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop waits until the attempt can be taken back."""
    gone = [True]

    async def before(event: Deposited) -> None:
        if event.amount == 7 and gone:
            raise Unavailable("away")

    model = _model(before)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await _left_behind(running, model)
        await append(running, "a", 7)
        stores = running.stores
        begin, away = stores[CHECKPOINTS].begin, [False]

        async def failing(*given: Any, **named: Any) -> Any:
            if away[0]:
                raise Unavailable("still away")
            away[0] = named.get("isolated_attempts", 0) > 0  # from the attempt on
            return await begin(*given, **named)

        monkeypatch.setattr(stores[CHECKPOINTS], "begin", failing)
        for _ in range(_ATTEMPTS + 1):
            runner = await unleased(running, model, await stores[EVENTS].high_water_mark())
            await runner.start()
            await until(partial(_has_correction, runner))
            stopping = asyncio.create_task(runner.stop(30.0))
            await until(partial(_is_stopping, runner))
            away[0] = False
            await stopping
            away[0] = False
            assert {each.isolated_attempts for each in await stores[CHECKPOINTS].checkpoints()} == {0}
        gone.clear()
        monkeypatch.undo()
        async with RunningService(model.service, settings_for(url)) as working:
            await until(lambda: caught_up(working, model))


async def _has_correction(runner: GenerationRunner) -> bool:
    return bool(runner.pending_correction)


async def _is_stopping(runner: GenerationRunner) -> bool:
    return runner.state is RunnerState.STOPPING


async def test_a_stop_does_not_count(url: str) -> None:
    """However often a process is stopped while an event is in progress by itself."""
    under_way = asyncio.Event()
    held = [True]

    async def before(event: Deposited) -> None:
        if event.amount == 7 and held:
            under_way.set()
            await asyncio.get_running_loop().create_future()

    model = _model(before)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await _left_behind(running, model)
        await append(running, "a", 7)
        for _ in range(_ATTEMPTS + 1):
            stores = running.stores
            runner = await unleased(running, model, await stores[EVENTS].high_water_mark())
            await runner.start()
            async with asyncio.timeout(60):
                await under_way.wait()
            await runner.stop(0.01)
            under_way.clear()
            assert {each.isolated_attempts for each in await stores[CHECKPOINTS].checkpoints()} == {0}
        held.clear()
        async with RunningService(model.service, settings_for(url)) as working:
            await until(lambda: caught_up(working, model))
        assert await running.stores[CHECKPOINTS].parked() == []
        assert [row[1:] for row in await rows(running, model.accounts)] == [(7, 1, 1)]


async def test_two_that_go_event_by_event_at_once_park_nothing(url: str) -> None:
    """Both believe to hold it, both are in doubt; each event is applied once."""

    async def before(event: Deposited) -> None:
        await asyncio.sleep(0)

    model = _model(before, batch_limit=20)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        await _left_behind(running, model)
        for number in range(6):
            await append(running, f"a{number}", *range(5))
        head = await running.stores[EVENTS].high_water_mark()
        runners = [await unleased(running, model, head) for _ in range(2)]
        for runner in runners:
            await runner.start()
        await until(lambda: caught_up(running, model))
        for runner in runners:
            await runner.stop()
        assert await running.stores[CHECKPOINTS].parked() == []
        assert [row[1:] for row in await rows(running, model.accounts)] == [(10, 5, 5)] * 6


async def test_the_usual_way_writes_nothing_down(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a take-over, and no more, however many batches there are."""
    model = read_model(batch_limit=5)
    async with RunningService(model.service, settings_for(url)) as running:
        checkpoints, begun = running.stores[CHECKPOINTS], list[Any]()
        begin = checkpoints.begin

        async def counted(db_tx: Any, seen: Any, **named: int) -> Any:
            begun.append(seen)
            return await begin(db_tx, seen, **named)

        monkeypatch.setattr(checkpoints, "begin", counted)
        for number in range(8):
            await append(running, f"a{number}", *range(10))
        await until(lambda: caught_up(running, model))
        await append(running, "a1", *range(20))
        await until(lambda: caught_up(running, model))
        assert 1 <= len(begun) <= model.projection.partitions
