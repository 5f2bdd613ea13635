"""The same work by hand, as little as does it with the same durability. Imports the drivers.

variant  `saga`: a row for the start and for each of four steps, each in a commit; where several are in flight they are
         committed together. `relay`: a table read in order, 500 rows at a time, and deleted. `nats`: messages
         published with the driver, 500 unconfirmed at most. `inbox`: a transaction for 64 messages with their receipts,
         and an INSERT for each, four at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from typing import Final

import asyncpg
from benchmarks.cases import program
from benchmarks.cases.conditions import Conditions, expect, given, print_figures

_TEXT: Final = "x" * 200
_BODY: Final = b"x" * 420
"""About as long as the envelope of the same message."""
_KEYS: Final = 997
_UNCONFIRMED_MAX: Final = 500
_FETCHED: Final = 500
_BATCH: Final = 64
_WORKERS: Final = 4
_CONNECTIONS: Final = 8


class _Together:
    """Writes the steps that have come while the write before was under way, in one statement and one commit."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        self._come = asyncio.Event()

    async def save(self, name: str, step: int) -> None:
        """Return when it is committed."""
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, step, saved))
        self._come.set()
        await saved

    async def run(self) -> None:
        """Write until cancelled."""
        statement = await self._connection.prepare(
            "INSERT INTO saga (name, step) SELECT * FROM unnest($1::text[], $2::int[])"
            " ON CONFLICT (name) DO UPDATE SET step = excluded.step"
        )
        while True:
            await self._come.wait()
            self._come.clear()
            batch, self._waiting = self._waiting, []
            await statement.fetch([name for name, _, _ in batch], [step for _, step, _ in batch])
            for _, _, saved in batch:
                saved.set_result(None)


async def _saga(conditions: Conditions) -> Mapping[str, float]:
    connection = await asyncpg.connect(conditions.databases[0])
    await connection.execute("CREATE TABLE saga (name TEXT PRIMARY KEY, step INT NOT NULL)")
    together = _Together(connection)
    writing = asyncio.create_task(together.run())
    times: list[float] = []

    async def work(worker: int, until: float) -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            began = time.monotonic()
            for step in range(5):
                await together.save(f"saga-{worker}-{number}", step)
            times.append(time.monotonic() - began)

    began = time.monotonic()
    until = began + conditions.seconds
    await asyncio.gather(*(work(worker, until) for worker in range(conditions.concurrency)))
    seconds = time.monotonic() - began
    writing.cancel()
    found = await connection.fetchval("SELECT count(*) FROM saga WHERE step = 4")
    expect(found, len(times), "sagas that have ended")
    await connection.close()
    return {"per_second": len(times) / seconds, "p50_ms": median(times) * 1000}


async def _relay(conditions: Conditions) -> Mapping[str, float]:
    connection = await asyncpg.connect(conditions.databases[0])
    await connection.execute("CREATE TABLE dumb (id BIGSERIAL PRIMARY KEY, topic TEXT, key TEXT, body BYTEA)")
    rows = [("bench.events", f"key-{number % _KEYS}", _BODY) for number in range(conditions.messages)]
    await connection.copy_records_to_table("dumb", records=rows, columns=["topic", "key", "body"])
    published: list[int] = []
    began = time.monotonic()
    while fetched := await connection.fetch(
        "SELECT id, topic, key, body FROM dumb WHERE id > $1 ORDER BY id LIMIT $2",
        published[-1] if published else 0,
        _FETCHED,
    ):
        published += [row["id"] for row in fetched]
        await connection.execute("DELETE FROM dumb WHERE id <= $1", published[-1])
    seconds = time.monotonic() - began
    expect(len(published), conditions.messages, "rows published")
    await connection.close()
    return {"per_second": len(published) / seconds}


async def _nats(conditions: Conditions) -> Mapping[str, float]:
    import nats

    client = await nats.connect(conditions.broker)
    stream = client.jetstream(publish_async_max_pending=_UNCONFIRMED_MAX)
    await stream.add_stream(name=conditions.prefix, subjects=[f"{conditions.prefix}.>"])
    began = time.monotonic()
    confirmed = [
        await stream.publish_async(f"{conditions.prefix}.{number % _KEYS}", _BODY)
        for number in range(conditions.messages)
    ]
    await asyncio.gather(*confirmed)
    seconds = time.monotonic() - began
    info = await stream.stream_info(conditions.prefix)
    expect(info.state.messages, conditions.messages, "messages in the stream")
    await stream.delete_stream(conditions.prefix)
    await client.close()
    return {"per_second": conditions.messages / seconds}


async def _inbox(conditions: Conditions) -> Mapping[str, float]:
    async with asyncpg.create_pool(conditions.databases[0], min_size=_WORKERS, max_size=_WORKERS) as pool:
        await pool.execute("CREATE TABLE placed (id VARCHAR(64) PRIMARY KEY, body VARCHAR(300) NOT NULL)")
        await pool.execute("CREATE TABLE receipt (id TEXT PRIMARY KEY, at TIMESTAMPTZ NOT NULL DEFAULT now())")
        batches = iter(range(0, conditions.messages, _BATCH))

        async def work() -> None:
            for first in batches:
                keys = [f"order-{number}" for number in range(first, min(first + _BATCH, conditions.messages))]
                async with pool.acquire() as connection, connection.transaction():
                    await connection.fetch(
                        "INSERT INTO receipt (id) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING id",
                        keys,
                    )
                    for key in keys:
                        await connection.execute("INSERT INTO placed (id, body) VALUES ($1, $2)", key, _TEXT)

        began = time.monotonic()
        await asyncio.gather(*(work() for _ in range(_WORKERS)))
        seconds = time.monotonic() - began
        expect(await pool.fetchval("SELECT count(*) FROM placed"), conditions.messages, "rows written")
    return {"per_second": conditions.messages / seconds}


_VARIANTS: Mapping[str, Callable[[Conditions], Awaitable[Mapping[str, float]]]] = {
    "saga": _saga,
    "relay": _relay,
    "nats": _nats,
    "inbox": _inbox,
}


async def _main(conditions: Conditions) -> None:
    print_figures(await _VARIANTS[conditions.variant](conditions))


if __name__ == "__main__":
    program.run(_main(given()))
