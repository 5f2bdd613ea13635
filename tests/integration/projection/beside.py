"""What tests of generations beside each other share: a history, a writer, and the read model in plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.integration.projection.models import (
    ReadModel,
    append,
    rows,
)

from freehold import RunningService
from freehold.eventstore.store import EVENTS
from freehold.projection.operations import ProjectionOperations
from freehold.projection.store import CHECKPOINTS, GenerationState

__all__ = [
    "KEYS",
    "WHO",
    "actions_of",
    "all_rows",
    "check_against_cold_fold",
    "fill",
    "live_is",
    "states",
    "up_to_date",
    "writing",
]

WHO: Any = {"actor": "ann", "reason": "a test"}
KEYS = {"account": "account", "entry": "account"}


def actions_of(running: RunningService) -> ProjectionOperations:
    return ProjectionOperations(running.context)


async def states(running: RunningService) -> dict[int, str]:
    return {each.number: each.state.value for each in await running.stores[CHECKPOINTS].generations()}


async def up_to_date(running: RunningService) -> bool:
    """Whether every checkpoint that still moves stands at the head."""
    head = await running.stores[EVENTS].high_water_mark()
    found = await running.stores[CHECKPOINTS].checkpoints()
    moving = [each for each in found if each.state is not GenerationState.RETIRED]
    return bool(moving) and all(each.position >= head for each in moving)


async def fill(running: RunningService, events: int, accounts: int = 7) -> None:
    for number in range(accounts):
        await append(running, f"a{number}", *range(number, events, accounts))


@asynccontextmanager
async def writing(running: RunningService) -> AsyncIterator[list[int]]:
    """Somebody who deposits all the time; the amounts, in order."""
    done: list[int] = []
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await append(running, f"a{len(done) % 7}", 1_000_000 + len(done))
            done.append(1_000_000 + len(done))
            await asyncio.sleep(0.001)

    task = asyncio.create_task(write())
    try:
        yield done
    finally:
        stop.set()
        await task


async def check_against_cold_fold(running: RunningService, model: ReadModel) -> None:
    expected: dict[str, tuple[int, int, int]] = {}
    entries = []
    page = await running.stores[EVENTS].read_all(0, limit=1_000_000)
    for recorded in page.events:
        account = recorded.stream.partition("-")[2]
        amount = int(recorded.event.data.split(b'"amount":')[1].rstrip(b"}"))
        balance, events, _ = expected.get(account, (0, 0, 0))
        expected[account] = (balance + amount, events + 1, recorded.version)
        entries.append((recorded.position, account, amount))
    assert {row[0]: row[1:] for row in await rows(running, model.accounts)} == expected
    assert await rows(running, model.entries) == entries


async def live_is(running: RunningService, number: int) -> bool:
    return (await states(running)).get(number) == "live"


async def all_rows(running: RunningService, model: ReadModel, count: int) -> bool:
    return len(await rows(running, model.entries)) == count
