"""A writer is killed while its append is open: nothing of it is left, and it holds nobody up."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from tests.forking import forked
from tests.integration.eventstore.opened import opened

from freehold.conformance.events_order import add, data_of, follow, new_event
from freehold.eventstore.store import EVENTS, Append
from freehold.runtime.adapters import open_stores


async def _hold(url: str) -> None:
    """What the writer does."""
    stores = open_stores(url)
    await stores.database.open()
    async with stores.database.begin() as db_tx:
        await stores[EVENTS].append(db_tx, [Append("order-1", [new_event(b"killed")], 1)])
        print("ready", flush=True)  # noqa: T201 - tells the test
        await asyncio.Event().wait()


async def _check(url: str) -> None:
    async with opened(url) as stores:
        await add(stores, "order-1", new_event(b"before"))
        process = await forked(__name__, url)
        assert await asyncio.wait_for(process.stdout.readline(), 90) == b"ready\n"
        before = await stores[EVENTS].read_all(0)
        assert data_of(before.events) == [b"before"]
        await process.end()
        await add(stores, "order-1", new_event(b"after"), expected=1)
        assert data_of(await follow(stores, before.end_position)) == [b"after"]


@pytest.mark.servers
async def test_a_killed_writer_leaves_nothing_on_postgres(postgres_url: str) -> None:
    await _check(postgres_url)


async def test_a_killed_writer_leaves_nothing_on_sqlite(tmp_path: Path) -> None:
    await _check(f"sqlite:///{tmp_path}/killed.db")


if __name__ == "__main__":
    asyncio.run(_hold(sys.argv[1]))
