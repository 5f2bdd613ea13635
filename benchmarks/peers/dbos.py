"""DBOS: workflows of four steps that take no time, so many at once. Imports dbos and psycopg, from the peers'
environment. Figures as in `benchmarks.cases.sagas`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from statistics import median

import psycopg
from benchmarks.cases import program
from benchmarks.cases.commits import COUNT, DROP, MAKE
from benchmarks.cases.conditions import Conditions, expect, given, print_figures
from benchmarks.cases.processor import cpu_seconds
from dbos import DBOS

_WARM_UP = 5
_LEVEL = "ERROR"


async def _effect() -> None:
    """Stands for a request to a service outside, which takes no time."""


_step = DBOS.step()(_effect)


async def _four() -> None:
    for _ in range(4):
        await _step()


_workflow = DBOS.workflow()(_four)


async def _many(seconds: float, at_once: int) -> list[float]:
    """Run them for so long; returns how long each took."""
    until = time.monotonic() + seconds
    times: list[float] = []

    async def work() -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            await _workflow()
            times.append(time.monotonic() - began)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return times


async def _measured(conditions: Conditions, beside: psycopg.Connection[tuple[int]]) -> Mapping[str, float]:
    before = len(await _many(0.5, conditions.concurrency))
    for _ in range(_WARM_UP):
        await _workflow()
    beside.execute(COUNT)
    client, servers, began = time.process_time(), cpu_seconds(conditions.pids), time.monotonic()
    times = await _many(conditions.seconds, conditions.concurrency)
    seconds = time.monotonic() - began
    client, servers = time.process_time() - client, cpu_seconds(conditions.pids) - servers
    commits = beside.execute(COUNT).fetchone()
    found = beside.execute("SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'").fetchone()
    expect(found, (before + _WARM_UP + len(times),), "workflows that have ended")
    return {
        "per_second": len(times) / seconds,
        "p50_ms": median(times) * 1000,
        "commits": (commits[0] if commits else 0) / len(times),
        "cpu_ms": (client + servers) * 1000 / len(times),
    }


def _main(conditions: Conditions) -> None:
    url = conditions.databases[0]
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": _LEVEL})
    DBOS.launch()
    with psycopg.connect(url, autocommit=True) as beside:
        beside.execute(MAKE)
        figures = program.run(_measured(conditions, beside))
        beside.execute(DROP)
    DBOS.destroy()
    print_figures(figures)


if __name__ == "__main__":
    _main(given())
