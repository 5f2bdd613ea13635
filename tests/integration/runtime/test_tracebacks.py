"""What a handler raises: a traceback in the log, once and without values, and its first line in the dead letter."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from freehold import Projection, ProjectionContext, Retry, RunningService, Service, Settings, Transaction, event
from freehold.conformance.broker_harness import eventually
from freehold.deadletters.store import DEAD_LETTERS, DeadLetterFilter
from freehold.eventstore.store import EVENTS, Append, NewEvent
from freehold.ids import new_id
from freehold.messages import encode_body
from freehold.projection.generation_runner import GenerationRunner
from freehold.schedule.schedule_runner import ScheduleRunner

_SECRET = "ada@example.org"


@event("traces.made", key="name")
class Made:
    name: str


def _service() -> Service:
    service = Service("traces")
    seen = Projection("seen", categories={"thing"}, retry=Retry(attempts=1))

    @service.handles(Made, retry=Retry.fixed(0.01, attempts=3))
    async def refuse(message: Made, tx: Transaction) -> None:
        raise ValueError(f"{_SECRET} cannot be {message.name}")

    @seen.on(Made)
    async def look(message: Made, write: ProjectionContext) -> None:
        raise LookupError(_SECRET)

    service.projects(seen)
    return service


@pytest.mark.parametrize("shown", [True, False])
async def test_a_handler_and_a_projection(tmp_path: Path, caplog: pytest.LogCaptureFixture, *, shown: bool) -> None:
    settings = Settings.load(
        "traces",
        environ={},
        database=f"sqlite:///{tmp_path}/traces.db",
        broker=f"embedded:///{tmp_path}/broker.db",
        log_tracebacks=shown,
        poll_seconds=0.05,
    )
    with caplog.at_level(logging.WARNING, "freehold"):
        async with RunningService(_service(), settings) as running:
            async with running.transactions.begin() as tx:
                tx.publish(Made("one"))
            made = NewEvent(new_id(), "traces.made", 1, encode_body(Made("two")), new_id(), 1)
            await running.stores[EVENTS].append_now([Append("thing-1", [made])])

            async def dead_lettered() -> bool:
                letters = await running.stores[DEAD_LETTERS].find(DeadLetterFilter())
                return len(letters) == 1 and "LookupError" in caplog.text

            await eventually(dead_lettered)
            (letter,) = await running.stores[DEAD_LETTERS].find(DeadLetterFilter())
    assert letter.detail.startswith("ValueError in refuse, ")
    assert "test_tracebacks.py:" in letter.detail
    assert caplog.text.count('raise ValueError(f"{_SECRET}') == (1 if shown else 0)
    assert caplog.text.count("raise LookupError(_SECRET)") == (1 if shown else 0)
    assert "on attempt 3" in caplog.text
    assert _SECRET not in caplog.text


@pytest.mark.parametrize("shown", [True, False])
async def test_a_loop_that_was_made_after_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, shown: bool
) -> None:
    """Those of generations are made when they are found, and those of a role again when it is resumed."""
    failing = {GenerationRunner, ScheduleRunner}

    def broken(real: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def run(self: Any) -> None:
            if type(self) in failing:
                failing.discard(type(self))
                raise LookupError(_SECRET)
            await real(self)

        return run

    settings = Settings.load(
        "traces", environ={}, database=f"sqlite:///{tmp_path}/traces.db", broker="memory://", log_tracebacks=shown
    )
    with caplog.at_level(logging.WARNING, "freehold"):
        async with RunningService(_service(), settings) as running:
            await running.pause("schedule")
            for each in (GenerationRunner, ScheduleRunner):
                monkeypatch.setattr(each, "run", broken(each.run))
            await running.resume("schedule")
            await running.pause("projections")
            await running.resume("projections")

            async def failed() -> bool:
                return not failing and caplog.text.count("failed (LookupError") == 2

            await eventually(failed)
    assert caplog.text.count("raise LookupError(_SECRET)") == (2 if shown else 0)
    assert _SECRET not in caplog.text
