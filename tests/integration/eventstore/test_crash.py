"""The server is killed, or its data moves to another one: readers go on where they were, and skip nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess

import asyncpg
import pytest
from tests.integration.eventstore.opened import opened

from freehold.conformance.events_order import add, data_of, follow, new_event
from freehold.errors import ConfigurationError, FreeholdError
from freehold.eventstore.store import EVENTS, Append
from freehold.ports import Stores
from freehold_shop.servers import RunningServer, find_postgres_binaries

pytestmark = pytest.mark.servers


class _TakenBack(Exception):
    pass


async def _draw(stores: Stores, count: int) -> None:
    """Draw positions and take them back."""
    with pytest.raises(_TakenBack):
        async with stores.database.begin() as db_tx:
            await stores[EVENTS].append(db_tx, [Append("order-gap", [new_event() for _ in range(count)])])
            raise _TakenBack


async def _draw_until_killed(stores: Stores, server: RunningServer) -> None:
    async def draw() -> None:
        while True:
            await _draw(stores, 50)

    tasks = [asyncio.create_task(draw()) for _ in range(3)]
    await asyncio.wait(tasks, timeout=0.3)
    server.kill()
    for task in tasks:
        with pytest.raises((FreeholdError, AssertionError)):
            await asyncio.wait_for(task, 90)


async def test_a_crash_takes_positions_back_and_nothing_is_skipped(disposable_postgres: RunningServer) -> None:
    """Avoided: a reader that went on to a number that was only drawn is beyond the events that get it after a crash."""
    async with opened(disposable_postgres.url) as stores:
        for number in range(3):
            await add(stores, "order-1", new_event(f"before {number}".encode()))
            await _draw(stores, 10)
        page = await stores[EVENTS].read_all(0)
        assert page.end_position == page.events[-1].position
        assert await stores[EVENTS].high_water_mark() == page.end_position
        await _draw_until_killed(stores, disposable_postgres)
    disposable_postgres.start()
    async with opened(disposable_postgres.url) as stores:
        assert await stores[EVENTS].high_water_mark() == page.end_position
        await _draw(stores, 3)
        positions = await add(stores, "order-1", new_event(b"after"), expected=3)
        assert positions[0] > page.end_position
        assert data_of(await follow(stores, page.end_position)) == [b"after"]
        assert data_of(await stores[EVENTS].read_stream("order-1")) == [b"before 0", b"before 1", b"before 2", b"after"]


async def test_a_store_of_nothing_but_gaps_stalls_nobody(disposable_postgres: RunningServer) -> None:
    """Avoided: a reader waits for ever for numbers that nobody has. Only rolled-back appends, then a crash."""
    async with opened(disposable_postgres.url) as stores:
        await _draw(stores, 40)
        assert await stores[EVENTS].high_water_mark() == 0
        assert (await stores[EVENTS].read_all(0)).end_position == 0
        await _draw_until_killed(stores, disposable_postgres)
    disposable_postgres.start()
    async with opened(disposable_postgres.url) as stores:
        assert (await stores[EVENTS].read_all(0)).end_position == 0
        positions = await add(stores, "order-1", new_event(b"first"))
        assert data_of(await follow(stores)) == [b"first"]
        assert await stores[EVENTS].high_water_mark() == positions[0]


async def test_a_standby_is_refused(disposable_postgres: RunningServer) -> None:
    """Avoided: a standby shows rows and not who is still writing, so that a reader would skip, silently."""
    async with opened(disposable_postgres.url) as stores:
        await add(stores, "order-1", new_event(b"1"))
    disposable_postgres.stop()
    (disposable_postgres.directory / "data" / "standby.signal").touch()
    disposable_postgres.start()
    async with opened(disposable_postgres.url) as stores:
        assert data_of(await stores[EVENTS].read_stream("order-1")) == [b"1"]
        for read in (stores[EVENTS].read_all(0), stores[EVENTS].high_water_mark()):
            with pytest.raises(ConfigurationError, match="standby"):
                await read


async def test_a_restored_store_is_read_on(postgres_url: str, disposable_postgres: RunningServer) -> None:
    """Avoided: in a new cluster transaction ids are lower, and readers that compare them skip or wait for ever.

    A reader goes on from its position of before the dump; appends go on above, and open ones still hold it up.
    """
    async with opened(postgres_url) as stores:
        operator = await asyncpg.connect(postgres_url)
        for _ in range(3000):
            await operator.execute("SELECT pg_current_xact_id()")
        burnt = int(await operator.fetchval("SELECT pg_current_xact_id()::text"))
        await operator.close()
        for number in range(6):
            await add(stores, f"order-{number % 2}", new_event(str(number).encode()))
            await _draw(stores, 5)
        page = await stores[EVENTS].read_all(0, limit=4)
    _copy(postgres_url, disposable_postgres.url)
    async with opened(disposable_postgres.url) as restored:
        fresh = await asyncpg.connect(disposable_postgres.url)
        assert int(await fresh.fetchval("SELECT pg_current_xact_id()::text")) < burnt
        await fresh.close()
        assert data_of(await follow(restored, page.end_position)) == [b"4", b"5"]
        head = await restored[EVENTS].high_water_mark()
        async with restored.database.begin() as late:
            await restored[EVENTS].append(late, [Append("order-0", [new_event(b"late")], 3)])
            await add(restored, "order-1", new_event(b"early"), expected=3)
            assert (await restored[EVENTS].read_all(head)).end_position == head
        assert data_of(await follow(restored, page.end_position)) == [b"4", b"5", b"late", b"early"]
        assert data_of(await follow(restored))[:4] == data_of(page.events)


def _copy(source: str, target: str) -> None:
    binaries = find_postgres_binaries()
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    dump = subprocess.run(
        [binaries / "pg_dump", "--no-owner", source], check=True, capture_output=True, timeout=60, env=environment
    )
    subprocess.run(
        [binaries / "psql", "--quiet", "--set", "ON_ERROR_STOP=1", target],
        input=dump.stdout, check=True, capture_output=True, timeout=60, env=environment,
    )  # fmt: skip
