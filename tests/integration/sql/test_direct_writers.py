"""Direct statements beside transactions, with fewer connections than tasks: nobody waits for what waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.conformance.outbox import outgoing
from freehold.database import DatabaseOptions
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

_OPTIONS = DatabaseOptions(pool_size=2, lock_timeout_seconds=200.0, pool_timeout_seconds=200.0)
_SIDE_BY_SIDE = 20
_LIMIT_SECONDS = 60.0
"""Less than both time limits: what passes by them was stuck."""
_WRITE = "INSERT INTO freehold_meta (name, value) VALUES ('{}', 'direct')"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    url = f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    stores = open_stores(url, _OPTIONS)
    await stores.database.open()
    await stores.database.upgrade()
    yield stores
    await stores.database.close()


async def _write(stores: Stores, name: str) -> None:
    async with stores[SQL].direct() as sql:
        assert await sql.execute(_WRITE.format(name)) == 1


async def _publish(stores: Stores) -> None:
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, [outgoing("k")])
        await stores[OUTBOX].stats()  # reads on a connection of its own


async def test_writers_leave_connections_to_the_transactions_that_they_wait_for(stores: Stores) -> None:
    async with asyncio.timeout(_LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
        for number in range(_SIDE_BY_SIDE):
            tasks.create_task(_write(stores, f"n{number}"))
        tasks.create_task(_publish(stores))
    assert (await stores[OUTBOX].stats()).pending == 1


async def test_transactions_and_writers_side_by_side(stores: Stores) -> None:
    async def stage() -> None:
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing("k")])

    async with asyncio.timeout(_LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
        for number in range(_SIDE_BY_SIDE):
            tasks.create_task(_write(stores, f"n{number}"))
            tasks.create_task(stage())
            tasks.create_task(stores.database.probe(_LIMIT_SECONDS))
    assert (await stores[OUTBOX].stats()).pending == _SIDE_BY_SIDE
