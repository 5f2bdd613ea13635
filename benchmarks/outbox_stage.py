"""What staging a message costs: transactions a second, beside the same insert written by hand.

    python benchmarks/outbox_stage.py postgresql://user@host/database     an empty database, of its own
    python benchmarks/outbox_stage.py sqlite:////tmp/bench.db

Each transaction stages one message of 300 bytes with a key of its own; ten run side by side, for three seconds a line.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from freehold.binding import Stores, open_stores
from freehold.broker import Outgoing
from freehold.ids import new_id
from freehold.outbox.store import LEASE_PREFIX, lease_name

CONCURRENCY = 10
SECONDS = 3.0
DOCUMENT = b"x" * 300


async def rate(once: Callable[[], Awaitable[object]]) -> float:
    """Run `once` over and over in ten tasks; returns how often a second."""
    count = 0
    until = time.monotonic() + SECONDS

    async def work() -> None:
        nonlocal count
        while time.monotonic() < until:
            await once()
            count += 1

    begun = time.monotonic()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return count / (time.monotonic() - begun)


def message(key: str | None = None) -> Outgoing:
    """A message with a key of its own, or this one."""
    message_id = new_id()
    return Outgoing(message_id, "bench.events", key or str(message_id), DOCUMENT)


async def stage_rate(stores: Stores, messages: int = 1, key: str | None = None) -> float:
    """Transactions a second that stage so many messages."""

    async def once() -> None:
        async with stores.database.begin() as unit:
            await stores.outbox.stage(unit, [message(key) for _ in range(messages)])

    return await rate(once)


async def empty_rate(stores: Stores) -> float:
    """Transactions a second that do nothing but one trivial statement."""

    async def once() -> None:
        async with stores.database.begin() as unit:
            await unit.sql.fetch("SELECT 1")  # type: ignore[attr-defined]  # an SQL database's unit has it

    return await rate(once)


async def floor_rate(url: str) -> float:
    """Transactions a second of one INSERT by hand, each in BEGIN and COMMIT, over asyncpg's own pool."""
    import asyncpg

    insert = (
        "INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at)"
        " VALUES ($1, $2, $3, $4, $5, now())"
    )
    async with asyncpg.create_pool(url, min_size=CONCURRENCY, max_size=CONCURRENCY) as pool:

        async def once() -> None:
            each = message()
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(insert, 0, each.id, each.topic, each.key, each.document)

        return await rate(once)


async def drain_rate(stores: Stores) -> float:
    """Rows a second that are fetched and removed, 200 a round."""
    await stores.leases.ensure(lease_name(partition) for partition in range(stores.outbox.partitions))
    held = {}
    for seen in await stores.leases.list(LEASE_PREFIX):
        lease = await stores.leases.take(seen, "bench")
        if lease is not None:
            held[int(lease.name.removeprefix(LEASE_PREFIX))] = lease.token
    begun, count = time.monotonic(), 0
    while time.monotonic() < begun + SECONDS:
        rows = (await stores.outbox.fetch(held, 200)).rows
        if not rows:
            break
        count += await stores.outbox.remove(held, rows)
    return count / (time.monotonic() - begun)


async def main(url: str) -> None:
    """Print a line for each measurement."""
    stores = open_stores(url)
    await stores.database.open()
    await stores.database.upgrade()
    try:
        if url.startswith("postgresql"):
            print(f"by hand, one INSERT      {await floor_rate(url):8.0f} transactions/s")
        print(f"one SELECT               {await empty_rate(stores):8.0f} transactions/s")
        print(f"stage one message        {await stage_rate(stores):8.0f} transactions/s")
        print(f"stage ten messages       {await stage_rate(stores, 10):8.0f} transactions/s")
        print(f"stage, all of one key    {await stage_rate(stores, key='k'):8.0f} transactions/s")
        print(f"fetch and remove         {await drain_rate(stores):8.0f} rows/s")
    finally:
        await stores.database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
