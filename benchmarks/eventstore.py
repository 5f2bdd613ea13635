"""What saving and reading events costs, beside INSERT and SELECT written by hand on asyncpg in the same run.

    python -m benchmarks.eventstore                                    PostgreSQL of its own, and SQLite
    python -m benchmarks.eventstore postgresql://user@host/database    an empty database; also FREEHOLD_BENCH_POSTGRES
    python -m benchmarks.eventstore sqlite:////tmp/bench.db

Each save is a transaction that appends to a new stream, expecting it to be empty; events have 200 bytes. What is
written by hand and what is not take turns, since a disk is not equally fast all the time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

from freehold.binding import Stores, open_stores
from freehold.database import DatabaseOptions
from freehold.eventstore.store import Append, Expectation, NewEvent
from freehold.ids import new_id
from freehold_shop.servers import start_postgres

__all__ = ["SAVES", "measure"]

SECONDS = 1.5
TURNS = 3
SAVES = ((1, 1), (1, 10), (10, 10))
"""Events a save, and writers."""
STREAM_EVENTS = 10_000
_DATA = b'{"order":"0192","text":"' + b"x" * 174 + b'"}'
_FLOOR_TABLE = """
CREATE TABLE IF NOT EXISTS bench_floor (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL,
    version bigint NOT NULL, type text NOT NULL, id uuid NOT NULL, data bytea NOT NULL, UNIQUE (stream, version))"""
_FLOOR_INSERT = """
INSERT INTO bench_floor (stream, version, type, id, data)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::uuid[], $5::bytea[])"""


def _events(count: int) -> list[NewEvent]:
    return [NewEvent(new_id(), "bench.happened", 1, _DATA, new_id(), 1) for _ in range(count)]


async def _rate(writers: int, once: Callable[[], Awaitable[object]]) -> float:
    """How often a second `once` is done by so many tasks."""
    count, begun = 0, time.monotonic()

    async def work() -> None:
        nonlocal count
        while time.monotonic() < begun + SECONDS:
            await once()
            count += 1

    await asyncio.gather(*(work() for _ in range(writers)))
    return count / (time.monotonic() - begun)


def _save(stores: Stores, events: int) -> Callable[[], Awaitable[object]]:
    async def once() -> None:
        stream = f"bench-{new_id()}"
        await stores.events.append_alone([Append(stream, _events(events), Expectation.NO_STREAM)])

    return once


def _save_by_hand(pool: Any, events: int) -> Callable[[], Awaitable[object]]:
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


async def measure(url: str) -> dict[str, tuple[float, float | None]]:
    """Each figure with the one by hand, where there is one: saves a second, and milliseconds to read a stream."""
    stores = open_stores(url, DatabaseOptions(pool_size=10))
    await stores.database.open()
    await stores.database.upgrade()
    try:
        if not url.startswith("postgresql"):
            return await _measure(stores, None)
        import asyncpg

        async with asyncpg.create_pool(url, min_size=10, max_size=10) as pool:
            await pool.execute(_FLOOR_TABLE)
            return await _measure(stores, pool)
    finally:
        await stores.database.close()


async def _measure(stores: Stores, pool: Any | None) -> dict[str, tuple[float, float | None]]:
    found: dict[str, tuple[float, float | None]] = {}
    for events, writers in SAVES:
        ours, floors = [], []
        for _ in range(TURNS):
            if pool is not None:
                floors.append(await _rate(writers, _save_by_hand(pool, events)))
            ours.append(await _rate(writers, _save(stores, events)))
        name = f"events a second, {events} a save, {writers} writer{'s' if writers > 1 else ''}"
        found[name] = (median(ours) * events, median(floors) * events if floors else None)
    stream = f"bench-{new_id()}"
    for _ in range(STREAM_EVENTS // 1000):
        await stores.events.append_alone([Append(stream, _events(1000))])

    async def read() -> None:
        assert len(await stores.events.read_stream(stream, limit=STREAM_EVENTS)) == STREAM_EVENTS

    async def read_by_hand() -> None:
        assert pool is not None
        await pool.fetch("SELECT * FROM freehold_event WHERE stream = $1 ORDER BY version", stream)

    found[f"milliseconds to read {STREAM_EVENTS:,} events of a stream"] = (
        await _milliseconds(read),
        await _milliseconds(read_by_hand) if pool is not None else None,
    )
    return found


async def _milliseconds(once: Callable[[], Awaitable[None]]) -> float:
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        await once()
        taken.append((time.perf_counter() - begun) * 1000)
    return median(taken)


def _report(url: str) -> None:
    print("PostgreSQL" if url.startswith("postgresql") else "SQLite")
    for name, (ours, by_hand) in asyncio.run(measure(url)).items():
        beside = "" if by_hand is None else f"   by hand {by_hand:8,.0f}   ratio {ours / by_hand:.2f}"
        print(f"  {name:<48}{ours:8,.0f}{beside}", flush=True)


def main(urls: list[str]) -> None:
    """Print a line for each figure."""
    for url in urls:
        _report(url)
    if urls:
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        _report(f"sqlite:///{directory}/bench.db")
        if elsewhere := os.environ.get("FREEHOLD_BENCH_POSTGRES"):
            _report(elsewhere)
        else:
            with start_postgres(directory / "postgres") as server:
                _report(server.url)


if __name__ == "__main__":
    main(sys.argv[1:])
