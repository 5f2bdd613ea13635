"""A read model outside of the service's database: written before its checkpoint, idempotent by position."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.forking import forked
from tests.integration.projection.models import ReadModel, append, caught_up, read_model, settings_for, until
from tests.integration.projection.sinks import FileSink, sinking

from freehold import Retry, RunningService
from freehold.errors import ConcurrencyConflict, Unavailable
from freehold.projection.declaration import Sink
from freehold.projection.operations import ProjectionOperations
from freehold.projection.service_runner import ProjectionCoordinator
from freehold.projection.store import CHECKPOINTS


def _model(sink: FileSink) -> ReadModel:
    service, projection = sinking(sink)
    unused = read_model()
    return ReadModel(service, projection, unused.accounts, unused.entries)


async def test_a_sink_gets_what_tables_would(url: str, tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "sink.db")
    assert isinstance(sink, Sink)
    model = _model(sink)
    async with RunningService(model.service, settings_for(url)) as running:
        for number in range(12):
            await append(running, f"a{number % 3}", number, number)
        await until(lambda: caught_up(running, model))
        assert sink.balances() == {"a0": (36, 8), "a1": (44, 8), "a2": (52, 8)}


async def test_readers_see_what_was_switched_to_though_the_sink_was_away(url: str, tmp_path: Path) -> None:
    """Whoever switched could not tell it; who runs the projection does."""
    sink = FileSink(tmp_path / "sink.db")
    model = _model(sink)
    show = sink.show
    async with RunningService(model.service, settings_for(url), roles=("projections",)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
        await until(lambda: _shows(sink, 1))
        away = [Unavailable("away")] * 2

        async def showing(generation: int) -> None:
            if away:
                raise away.pop()
            await show(generation)

        sink.show = showing  # type: ignore[method-assign] # it is away twice
        actions = ProjectionOperations(running.context)
        await actions.rebuild("balances", actor="ann", reason="a test")
        with pytest.raises(Unavailable):
            await actions.switch("balances", actor="ann", reason="a test")
        await until(lambda: _shows(sink, 2))
        assert sink.balances() == {"a": (1, 1)}


async def test_a_sink_that_is_away_at_the_start_holds_up_no_other(url: str, tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "sink.db")
    model, (_, away) = read_model(), sinking(sink)

    async def preparing(generation: int) -> None:
        raise Unavailable(f"away, also for generation {generation}")

    sink.prepare = preparing  # type: ignore[method-assign] # it is away
    model.service.projects(away)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))


async def test_a_checkpoint_that_somebody_holds_says_nothing_of_the_events(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sink had been written to by then; whoever hangs, and holds the checkpoint, parks nothing here."""
    model = _model(FileSink(tmp_path / "sink.db"))
    model.projection.retry = Retry(attempts=3)
    async with RunningService(model.service, settings_for(url)) as running:
        checkpoints, held = running.stores[CHECKPOINTS], [ConcurrencyConflict("held")] * 10
        advance = checkpoints.advance

        async def waiting(db_tx: Any, moves: Any) -> Any:
            if held and any(each.handled for each in moves):
                raise held.pop()
            return await advance(db_tx, moves)

        monkeypatch.setattr(checkpoints, "advance", waiting)
        await append(running, "a", 1)
        await until(lambda: caught_up(running, model))
        assert held == []
        assert await checkpoints.parked() == []


async def _shows(sink: FileSink, generation: int) -> bool:
    with sqlite3.connect(sink.path) as file:
        rows = file.execute("SELECT sql FROM sqlite_schema WHERE name = 'balance'").fetchall()
    return bool(rows) and str(rows[0][0]).endswith(f"balance_{generation}")


async def test_a_process_that_dies_between_write_and_checkpoint(url: str, tmp_path: Path) -> None:
    """The same changes come again, and change nothing."""
    sink = FileSink(tmp_path / "sink.db")
    model = _model(sink)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        for number in range(40):
            await append(running, f"a{number % 3}", number)
        for die_after in (1, 2):
            before = sum(each.handled for each in await running.stores[CHECKPOINTS].checkpoints())
            process = await forked("tests.integration.projection.sinks", url, str(sink.path), str(die_after))
            async with asyncio.timeout(60):
                assert await process.wait() == -signal.SIGKILL
            handled = sum(each.handled for each in await running.stores[CHECKPOINTS].checkpoints())
            assert (handled == before) == (die_after == 1)
            assert sum(events for _, events in sink.balances().values()) > handled
    async with RunningService(model.service, settings_for(url)) as running:
        await until(lambda: caught_up(running, model))
        assert sink.balances() == {"a0": (273, 14), "a1": (247, 13), "a2": (260, 13)}


async def test_a_sink_that_is_away_is_waited_for(url: str, tmp_path: Path) -> None:
    """Nothing is parked; it goes on when it is there again."""
    sink = FileSink(tmp_path / "sink.db")
    sink.away = 3
    model = _model(sink)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 2)
        await until(lambda: caught_up(running, model))
        assert sink.balances() == {"a": (3, 2)}
        assert await running.stores[CHECKPOINTS].parked() == []
        (follower,) = [each for each in running.loops.running["projections"] if isinstance(each, ProjectionCoordinator)]
        assert follower.generations[0].progress.parked == 0


async def test_a_change_that_a_sink_refuses_parks_its_stream(url: str, tmp_path: Path) -> None:
    """Alone, as with tables."""
    sink = FileSink(tmp_path / "sink.db")
    sink.failing.add(7)
    model = _model(sink)
    async with RunningService(model.service, settings_for(url)) as running:
        await append(running, "a", 1, 7, 2)
        await append(running, "b", 5)
        await until(lambda: caught_up(running, model))
        assert sink.balances() == {"a": (1, 1), "b": (5, 1)}
        assert [each.stream for each in await running.stores[CHECKPOINTS].parked()] == ["account-a"]
        sink.failing.clear()
        await until(lambda: _released(running))
        assert sink.balances() == {"a": (10, 3), "b": (5, 1)}


async def _released(running: RunningService) -> bool:
    return not await running.stores[CHECKPOINTS].parked()
