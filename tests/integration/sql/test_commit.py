"""The answer to COMMIT is lost, and a proxy that keeps no prepared statements, over real sockets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from freehold.conformance.outbox import outgoing, take_partitions
from freehold.errors import Unavailable
from freehold.outbox.store import OUTBOX
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.servers

_COMMIT = b"COMMIT\x00"
"""How a message of statements as text ends that commits: COMMIT alone, or behind what is staged with it."""


@dataclass(slots=True)
class Cuts:
    """How many commits more are cut."""

    left: float


@asynccontextmanager
async def cutting_at_commit(url: sa.URL, cuts: Cuts | None = None) -> AsyncIterator[sa.URL]:
    """A proxy that passes COMMIT on, waits for the server's answer, and cuts the client off instead of giving it."""
    tasks: set[asyncio.Task[None]] = set()
    cuts = cuts or Cuts(math.inf)

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(url.host, url.port)
        committing = False

        async def back() -> None:
            while answer := await server.read(65536):
                if committing:
                    break
                to_client.write(answer)
            to_client.close()

        tasks.add(asyncio.create_task(back()))
        while data := await client.read(65536):
            if not committing and cuts.left > 0 and _COMMIT in data:
                committing = True
                cuts.left -= 1
            to_server.write(data)
        to_server.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield url.set(host="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    await asyncio.wait(tasks, timeout=5)


async def test_a_lost_answer_to_commit_is_unknown_and_not_a_rollback(postgres_url: str) -> None:
    stores = open_stores(postgres_url)
    await stores.database.open()
    await stores.database.upgrade()
    async with cutting_at_commit(sa.make_url(postgres_url)) as cut:
        through = open_stores(cut.render_as_string(hide_password=False) + "?sslmode=disable")
        await through.database.open()
        with pytest.raises(Unavailable, match="outcome is not known"):
            async with through.database.begin() as db_tx:
                await through[OUTBOX].stage(db_tx, [outgoing("k")])
        await through.database.close()
    assert (await stores[OUTBOX].stats()).pending == 1
    await stores.database.close()


async def test_without_prepared_statements(postgres_url: str) -> None:
    stores = open_stores(f"{postgres_url}?statement_cache_size=0")
    await stores.database.open()
    await stores.database.upgrade()
    for _ in range(2):
        async with stores.database.begin() as db_tx:
            await db_tx.native.execute(sa.text("SELECT :n + 1"), {"n": 1})
            await stores[OUTBOX].stage(db_tx, [outgoing("k")])
            prepared = await db_tx.native.execute(sa.text("SELECT count(*) FROM pg_prepared_statements"))
            assert prepared.scalar_one() == 0
    leases = await take_partitions(stores)
    rows = (await stores[OUTBOX].fetch(leases, 10)).rows
    assert await stores[OUTBOX].remove(leases, rows) == 2
    await stores.database.close()
