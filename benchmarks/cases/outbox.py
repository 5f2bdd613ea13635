"""A transaction of the user's that writes a row, with and without a message in it. Imports Freehold's public names.

variant  `ours`: Freehold's transaction. `enlisted`: an `AsyncSession` of the user's own, which the `Outbox` joins.
         `byhand`: asyncpg alone. Each alternates between the row alone and the row with a message; by hand the message
         is an INSERT in a dumb table.

No relay runs. Figures: transactions a second with the message and without it, and their ratio: the median of the turns.
It fails unless there are as many rows and messages as transactions.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median

from benchmarks.cases import declared, program
from benchmarks.cases.conditions import Conditions, expect, given, print_figures
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from freehold import Outbox, RunningService
from freehold.outbox import OUTBOX

__all__ = ["measure"]

_TURNS = 7
_ROW = text("INSERT INTO placed (id, body) VALUES (:id, :body)")
_DUMB_TABLE = "CREATE TABLE dumb (id BIGSERIAL PRIMARY KEY, topic TEXT, key TEXT, body BYTEA)"
_DUMB = "INSERT INTO dumb (topic, key, body) VALUES ($1, $2, $3)"
_Once = Callable[[int, str], Awaitable[None]]
"""A transaction with the row of this number, `with` a message or `without`."""
_Count = Callable[[], Awaitable[tuple[int, int]]]
"""How many rows and messages there are."""


def _placed(number: int) -> declared.Placed:
    return declared.Placed(f"order-{number}", number, declared.TEXT)


async def _counts(running: RunningService) -> tuple[int, int]:
    async with running.transaction() as tx:
        ((rows,),) = await tx.sql.fetch("SELECT count(*) FROM placed")
    return int(rows), (await running.stores[OUTBOX].stats()).pending


@asynccontextmanager
async def _ours(conditions: Conditions) -> AsyncIterator[tuple[_Once, _Count]]:
    settings = declared.settings("bench", conditions.databases[0], conditions)
    async with RunningService(declared.publisher(), settings, roles=(), connects=False) as running:

        async def once(number: int, message: str) -> None:
            async with running.transaction() as tx:
                await tx.sql.execute(declared.INSERT, (f"order-{number}", declared.TEXT))
                if message == "with":
                    tx.publish(_placed(number))

        yield once, lambda: _counts(running)


@asynccontextmanager
async def _enlisted(conditions: Conditions) -> AsyncIterator[tuple[_Once, _Count]]:
    url = conditions.databases[0]
    settings = declared.settings("bench", url, conditions)
    async with RunningService(declared.publisher(), settings, roles=(), connects=False):
        pass  # makes the tables
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10)
    sessions = async_sessionmaker(engine)
    async with Outbox("bench", url, conditions.broker, relay=False) as outbox:

        async def once(number: int, message: str) -> None:
            async with sessions() as session, session.begin():
                await session.execute(_ROW, {"id": f"order-{number}", "body": declared.TEXT})
                if message == "with":
                    await outbox.publish(session, _placed(number))

        yield once, lambda: _counts(outbox.running)
    await engine.dispose()


@asynccontextmanager
async def _byhand(conditions: Conditions) -> AsyncIterator[tuple[_Once, _Count]]:
    import asyncpg

    async with asyncpg.create_pool(conditions.databases[0], min_size=8, max_size=8) as pool:
        await pool.execute("CREATE TABLE placed (id VARCHAR(64) PRIMARY KEY, body VARCHAR(300) NOT NULL)")
        await pool.execute(_DUMB_TABLE)
        document = declared.TEXT.encode() * 2

        async def once(number: int, message: str) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(declared.INSERT, f"order-{number}", declared.TEXT)
                if message == "with":
                    await connection.execute(_DUMB, "bench.events", f"order-{number}", document)

        async def count() -> tuple[int, int]:
            return await pool.fetchval("SELECT count(*) FROM placed"), await pool.fetchval("SELECT count(*) FROM dumb")

        yield once, count


async def measure(conditions: Conditions) -> dict[str, float]:
    """Alternate between transactions with a message and without."""
    opened = {"ours": _ours, "enlisted": _enlisted, "byhand": _byhand}[conditions.variant]
    async with opened(conditions) as (once, count):
        rates: dict[str, list[float]] = {"without": [], "with": []}
        done = dict.fromkeys(rates, 0)
        gc.collect()
        gc.freeze()  # as `freehold.run` does
        for turn in range(2 * (_TURNS + 1)):
            message = ("without", "with")[turn % 2]
            number, rate = await _rate(once, message, sum(done.values()), conditions)
            done[message] += number
            if turn > 1:  # the first of each opens connections, and prepares statements
                rates[message].append(rate)
        rows, messages = await count()
        expect((rows, messages), (sum(done.values()), done["with"]), "rows and messages")
    ratios = [ours / without for ours, without in zip(rates["with"], rates["without"], strict=True)]
    return {**{message: median(each) for message, each in rates.items()}, "ratio": median(ratios)}


async def _rate(once: _Once, message: str, first: int, conditions: Conditions) -> tuple[int, float]:
    """Repeat the transaction; returns how often, and how often a second."""
    count = 0
    begun = time.monotonic()
    until = begun + conditions.seconds / _TURNS

    async def work() -> None:
        nonlocal count
        while time.monotonic() < until:
            count += 1
            await once(first + count, message)

    await asyncio.gather(*(work() for _ in range(conditions.concurrency)))
    return count, count / (time.monotonic() - begun)


if __name__ == "__main__":
    print_figures(program.run(measure(given())))
