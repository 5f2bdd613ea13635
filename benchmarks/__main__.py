"""Every benchmark, bounded, as one table: `python -m benchmarks [SECONDS]`, or `make bench`.

SECONDS (1 by default) is how long each figure is measured; all together takes less than two minutes with the default.
PostgreSQL and NATS are real servers of the run's own; where one cannot be had its lines are left out, and it is said.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks import broker, eventstore, outbox_stage

from freehold.binding import open_stores
from freehold_shop.servers import ServerUnavailable, start_nats, start_postgres

__all__ = ["main"]

_LIMIT_SECONDS = 50.0


def main() -> None:
    """Print the conditions, then a line for each figure."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    outbox_stage.SECONDS = seconds
    eventstore.SECONDS = seconds / eventstore.TURNS
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.platform()}")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start, {seconds:g} s for each figure")
    print("outbox: ten tasks, 300 bytes a message; brokers: one process, batches of 200, 700 bytes a message\n")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        _bounded("outbox on SQLite", lambda: _outbox(f"sqlite:///{directory}/outbox.db"))
        _bounded("events on SQLite", lambda: _events(f"sqlite:///{directory}/events.db"))
        try:
            with start_postgres(directory / "postgres") as server:
                url = server.url
                _bounded("outbox on PostgreSQL", lambda: _outbox(url))
                _bounded("events on PostgreSQL", lambda: _events(url))
        except ServerUnavailable as error:
            print(f"PostgreSQL is left out: {error}")
        _bounded("broker, memory", lambda: _broker("memory://", seconds, apart=False))
        _bounded("broker, embedded", lambda: _broker(f"embedded:///{directory}/broker.db", seconds))
        try:
            with start_nats(directory / "nats") as server:
                nats = server.url
                _bounded("broker, NATS", lambda: _broker(nats, seconds))
        except ServerUnavailable as error:
            print(f"NATS is left out: {error}")


def _bounded(title: str, measure: Callable[[], Awaitable[None]]) -> None:
    print(title)

    async def run() -> None:
        async with asyncio.timeout(_LIMIT_SECONDS):
            await measure()

    try:
        asyncio.run(run())
    except TimeoutError:
        _line("given up", _LIMIT_SECONDS, "s")


async def _outbox(url: str) -> None:
    stores = open_stores(url)
    await stores.database.open()
    await stores.database.upgrade()
    try:
        _line("transactions with one SELECT", await outbox_stage.empty_rate(stores), "/s")
        _line("transactions that stage one message", await outbox_stage.stage_rate(stores), "/s")
        _line("transactions that stage ten messages", await outbox_stage.stage_rate(stores, 10), "/s")
        _line("transactions that stage for one key", await outbox_stage.stage_rate(stores, key="k"), "/s")
        _line("rows fetched and removed", await outbox_stage.drain_rate(stores), "/s")
    finally:
        await stores.database.close()


async def _events(url: str) -> None:
    for what, (ours, by_hand) in (await eventstore.measure(url)).items():
        _line(what, ours, "")
        if by_hand is not None:
            _line("  by hand", by_hand, "")


async def _broker(url: str, seconds: float, *, apart: bool = True) -> None:
    found = await broker.measure(url, seconds, apart=apart)
    for what in ("publish", "consume"):
        _line(f"{what}, messages", found[what]["messages_per_second"], "/s")
        _line(f"{what}, processor time a message", found[what]["processor_microseconds_per_message"], "µs")
    for share, milliseconds in found.get("latency_ms", {}).items():
        _line(f"one message to another process, {share}", milliseconds, "ms")


def _line(what: str, figure: float, unit: str) -> None:
    number = f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
    print(f"  {what:<46}{number:>12} {unit}", flush=True)


if __name__ == "__main__":
    main()
