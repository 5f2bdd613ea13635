"""The cost of saving and reading events, beside INSERT and SELECT by hand on asyncpg or sqlite3 in the same run.

By hand, a save is one INSERT into a table of stream, version, type, id and data with a key over stream and version; it
checks no version, keeps no order for readers, and cannot be read by type. Each save is a transaction that appends to a
new stream, expecting it to be empty; events have 200 bytes. Both alternate, since the speed of a disk varies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

from benchmarks.byhand import SqliteByHand
from benchmarks.figures import Figure

from freehold import new_id
from freehold.database import DatabaseOptions
from freehold.eventstore import EVENTS, Append, Expectation, NewEvent
from freehold.runtime import Stores, open_stores

__all__ = ["figures"]

TURNS = 3
SAVES = ((1, 1), (1, 10), (10, 10))
"""(events in a save, writers)."""
STREAM_EVENTS = 10_000
_DATA = b'{"order":"0192","text":"' + b"x" * 174 + b'"}'
_FLOOR_TABLE = """
CREATE TABLE IF NOT EXISTS bench_floor (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL,
    version bigint NOT NULL, type text NOT NULL, id uuid NOT NULL, data bytea NOT NULL, UNIQUE (stream, version))"""
_FLOOR_INSERT = """
INSERT INTO bench_floor (stream, version, type, id, data)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::uuid[], $5::bytea[])"""


_SQLITE_TABLE = """
CREATE TABLE IF NOT EXISTS bench_floor (position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL,
    version INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, UNIQUE (stream, version))"""
_SQLITE_INSERT = "INSERT INTO bench_floor (stream, version, type, id, data) VALUES (?, ?, ?, ?, ?)"
_STREAM = "SELECT * FROM freehold_event WHERE stream = $1 ORDER BY version"
Once = Callable[[], Awaitable[object]]


def _events(count: int) -> list[NewEvent]:
    return [NewEvent(new_id(), "bench.happened", 1, _DATA, new_id(), 1) for _ in range(count)]


async def _rate(writers: int, seconds: float, once: Once) -> float:
    """How often a second so many tasks complete `once`."""
    count, begun = 0, time.monotonic()

    async def work() -> None:
        nonlocal count
        while time.monotonic() < begun + seconds:
            await once()
            count += 1

    await asyncio.gather(*(work() for _ in range(writers)))
    return count / (time.monotonic() - begun)


def _save(stores: Stores, events: int) -> Once:
    async def once() -> None:
        stream = f"bench-{new_id()}"
        await stores[EVENTS].append_now([Append(stream, _events(events), Expectation.NO_STREAM)])

    return once


def _save_by_hand(pool: Any, events: int) -> Once:
    async def once() -> None:
        stream = f"bench-{new_id()}"
        made = _events(events)
        async with pool.acquire() as connection:
            await connection.execute(
                _FLOOR_INSERT,
                [stream] * events,
                list(range(1, events + 1)),
                [each.type for each in made],
                [each.id for each in made],
                [each.data for each in made],
            )

    return once


def _save_in_sqlite(by_hand: SqliteByHand, events: int) -> Once:
    async def once() -> None:
        stream = f"bench-{new_id()}"
        rows = [
            (stream, version, each.type, str(each.id), each.data) for version, each in enumerate(_events(events), 1)
        ]
        await by_hand.save(_SQLITE_INSERT, rows)

    return once


async def figures(url: str, seconds: float) -> AsyncIterator[Figure]:
    """Events saved a second, and milliseconds to read a stream."""
    stores = open_stores(url, DatabaseOptions(pool_size=10))
    await stores.database.open()
    await stores.database.upgrade()
    try:
        async with AsyncExitStack() as stack:
            saved, read = await _by_hand(url, stack)
            async for each in _saving(stores, saved, seconds):
                yield each
            yield await _reading(stores, read)
    finally:
        await stores.database.close()


async def _by_hand(url: str, stack: AsyncExitStack) -> tuple[Callable[[int], Once], Callable[[str], Awaitable[object]]]:
    """By hand: a function that saves so many events, and one that reads a stream."""
    if not url.startswith("postgresql"):
        sqlite = await stack.enter_async_context(SqliteByHand(url.removeprefix("sqlite:///")))
        await sqlite.work(lambda connection: connection.execute(_SQLITE_TABLE))
        return lambda events: _save_in_sqlite(sqlite, events), lambda stream: sqlite.work(
            lambda connection: connection.execute(_STREAM.replace("$1", "?"), (stream,)).fetchall()
        )
    import asyncpg

    pool = await stack.enter_async_context(asyncpg.create_pool(url, min_size=10, max_size=10))
    await pool.execute(_FLOOR_TABLE)
    return lambda events: _save_by_hand(pool, events), lambda stream: pool.fetch(_STREAM, stream)


async def _saving(stores: Stores, saved: Callable[[int], Once], seconds: float) -> AsyncIterator[Figure]:
    for events, writers in SAVES:
        ours, floors = [], []
        for _ in range(TURNS):
            floors.append(await _rate(writers, seconds / TURNS, saved(events)))
            ours.append(await _rate(writers, seconds / TURNS, _save(stores, events)))
        what = f"events saved, {events} a save, {writers} writer{'s' if writers > 1 else ''}"
        yield Figure(what, median(ours) * events, "/s", median(floors) * events)


async def _reading(stores: Stores, read: Callable[[str], Awaitable[object]]) -> Figure:
    stream = f"bench-{new_id()}"
    for _ in range(STREAM_EVENTS // 1000):
        await stores[EVENTS].append_now([Append(stream, _events(1000))])
    ours, floors = [], []
    for _ in range(5):
        begun = time.perf_counter()
        assert len(await stores[EVENTS].read_stream(stream, limit=STREAM_EVENTS)) == STREAM_EVENTS
        between = time.perf_counter()
        await read(stream)
        ours.append(between - begun)
        floors.append(time.perf_counter() - between)
    what = f"reading {STREAM_EVENTS:,} events of a stream; by hand, rows"
    return Figure(what, median(ours) * 1000, "ms", median(floors) * 1000)
