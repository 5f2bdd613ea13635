"""The cost of staging a message: transactions a second, beside the same INSERT by hand on asyncpg or sqlite3.

Messages have 300 bytes and keys of their own; ten tasks stage at the same time. By hand: an INSERT into the outbox's
table between BEGIN and COMMIT, without the order of keys that Freehold keeps. Both alternate. Imports the outbox's
lease names, which are internal: a relay's part is measured without a relay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median

from benchmarks.byhand import SqliteByHand
from benchmarks.figures import Figure

from freehold import new_id
from freehold.broker import OutgoingMessage
from freehold.leases import LEASES
from freehold.outbox import OUTBOX
from freehold.outbox.store import LEASE_PREFIX, lease_name
from freehold.runtime import Stores, open_stores
from freehold.sql import sql_of

CONCURRENCY = 10
TURNS = 3
DOCUMENT = b"x" * 300
_INSERT = (
    "INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at) VALUES ($1, $2, $3, $4, $5, now())"
)
_SQLITE_INSERT = (
    "INSERT INTO freehold_outbox (partition, id, topic, key, document, staged_at) VALUES (?, ?, ?, ?, ?, 0)"
)


async def rate(once: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Repeat `once` in ten tasks; returns how often a second."""
    count = 0
    until = time.monotonic() + seconds

    async def work() -> None:
        nonlocal count
        while time.monotonic() < until:
            await once()
            count += 1

    begun = time.monotonic()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return count / (time.monotonic() - begun)


def message(key: str | None = None) -> OutgoingMessage:
    """A message with this key, or with a key of its own."""
    message_id = new_id()
    return OutgoingMessage(message_id, "bench.events", key or str(message_id), DOCUMENT)


def stage_once(stores: Stores, messages: int = 1, key: str | None = None) -> Callable[[], Awaitable[object]]:
    """A transaction that stages so many messages."""

    async def once() -> None:
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [message(key) for _ in range(messages)])

    return once


async def _empty_rate(stores: Stores, seconds: float) -> float:
    async def once() -> None:
        async with stores.database.begin() as db_tx:
            await sql_of(db_tx).fetch("SELECT 1")

    return await rate(once, seconds)


@asynccontextmanager
async def _staging_by_hand(url: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    if not url.startswith("postgresql"):
        async with SqliteByHand(url.removeprefix("sqlite:///")) as sqlite:

            async def once_in_sqlite() -> None:
                each = message()
                await sqlite.save(_SQLITE_INSERT, [(0, str(each.id), each.topic, each.key, each.document)])

            yield once_in_sqlite
        return
    import asyncpg

    async with asyncpg.create_pool(url, min_size=CONCURRENCY, max_size=CONCURRENCY) as pool:

        async def once() -> None:
            each = message()
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(_INSERT, 0, each.id, each.topic, each.key, each.document)

        yield once


async def _drain_rates(stores: Stores, seconds: float) -> tuple[float, float]:
    """Rows a second that are fetched and removed, or fetched and kept for a resend; 200 a round, alternating."""
    held = await _leases(stores)
    spent, counts = [0.0, 0.0], [0, 0]
    turn = 0
    while sum(spent) < 2 * seconds:
        begun = time.monotonic()
        fetched = await stores[OUTBOX].fetch(held, 200)
        if not fetched.rows:
            break
        counts[turn] += await stores[OUTBOX].remove(held, fetched.rows, keep=fetched.loss if turn else None)
        spent[turn] += time.monotonic() - begun
        turn = 1 - turn
    return counts[0] / spent[0], counts[1] / spent[1]


async def _leases(stores: Stores) -> dict[int, int]:
    await stores[LEASES].ensure(lease_name(partition) for partition in range(stores[OUTBOX].partitions))
    held = {}
    for seen in await stores[LEASES].list(LEASE_PREFIX):
        lease = await stores[LEASES].acquire(seen, "bench")
        if lease is not None:
            held[int(lease.name.removeprefix(LEASE_PREFIX))] = lease.token
    return held


async def figures(url: str, seconds: float) -> AsyncIterator[Figure]:
    """Transactions a second that stage, and rows a second that are fetched and removed."""
    stores = open_stores(url)
    await stores.database.open()
    await stores.database.upgrade()
    try:
        async with _staging_by_hand(url) as by_hand:
            ours, floors = [], []
            for _ in range(TURNS):
                floors.append(await rate(by_hand, seconds / TURNS))
                ours.append(await rate(stage_once(stores), seconds / TURNS))
        yield Figure("transactions that stage one message", median(ours), "/s", median(floors))
        yield Figure("  ten messages", await rate(stage_once(stores, 10), seconds), "/s")
        yield Figure("  one message, all of one key", await rate(stage_once(stores, key="k"), seconds), "/s")
        yield Figure("  nothing, with one SELECT", await _empty_rate(stores, seconds), "/s")
        removed, kept = await _drain_rates(stores, seconds)
        yield Figure("rows fetched and removed", removed, "/s")
        yield Figure("  kept for a resend", kept, "/s")
    finally:
        await stores.database.close()
