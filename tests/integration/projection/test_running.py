"""A read model that follows the events, on real engines: everything once, in order, with its checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.projection.models import ReadModel, append, read_model, settings_for

from freehold import RunningService


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bank.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await what():
            await asyncio.sleep(0.02)


async def rows(running: RunningService, table: sa.Table) -> list[Any]:
    async with running.transaction() as tx:
        return [tuple(row) for row in await tx.connection.execute(sa.select(table).order_by(*table.primary_key))]


async def caught_up(running: RunningService, model: ReadModel) -> bool:
    head = await running.stores.events.head()
    checkpoints = await running.stores.checkpoints.checkpoints(model.projection.name)
    return bool(checkpoints) and all(each.position >= head for each in checkpoints)


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
        checkpoints = await running.stores.checkpoints.checkpoints()
        assert sum(each.handled for each in checkpoints) == 60
