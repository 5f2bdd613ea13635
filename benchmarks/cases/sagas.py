"""Sagas of four steps, so many at a time. Imports Freehold's public names, and the wire of `tests.ledger`.

variant  `calls`: four calls, which take no time. `commands`: four commands to a service with a database of its own.
         `plain-calls`: four calls, and no hook tells of the end, which is a commit less; it is looked for instead, so
         there is no figure but the commits.
         With `-trips` each database is reached through a proxy that counts round trips, which takes time of its own.

Figures: sagas a second, the median time of one in milliseconds, commits for each (transactions that have written
something, by the server's log), processor time, and trips. It fails unless each saga has ended once.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from benchmarks.cases import declared, program
from benchmarks.cases.commits import Commits, counted_commits
from benchmarks.cases.conditions import Conditions, expect, given, print_figures
from benchmarks.cases.processor import cpu_seconds
from tests.ledger.wire import PostgresReader, Wire, wire

from freehold import RunningService, Runtime, Saga
from freehold.saga import SAGAS, SagaFilter, SagaStatus

__all__ = ["measure"]

_WARM_UP = 5
_ENDED_SECONDS_MAX = 60.0
_SETTLED_SECONDS = 0.3


_LOOK_SECONDS = 0.005
_SAGAS: Mapping[str, type[Saga[Any]]] = {
    "calls": declared.Calls,
    "plain-calls": declared.PlainCalls,
    "commands": declared.Commands,
}


class _Sagas:
    """Starts sagas, and waits for their ends."""

    def __init__(self, running: RunningService, saga: type[Saga[Any]]) -> None:
        self._running = running
        self._saga = saga
        self.looks = saga is declared.PlainCalls
        self._waiting: dict[str, asyncio.Event] = {}
        self.started = 0
        self.times: list[float] = []
        declared.ended = self._has_ended

    def _has_ended(self, name: str) -> None:
        self._waiting[name].set()

    async def one(self) -> None:
        """Start one and wait for its end."""
        self.started += 1
        name = f"saga-{self.started}"
        self._waiting[name] = asyncio.Event()
        begun = time.monotonic()
        async with self._running.transaction() as tx:
            saga_id = await self._saga.start(tx, declared.State(name))
        async with asyncio.timeout(_ENDED_SECONDS_MAX):
            if self.looks:
                await self._look(saga_id)
            else:
                await self._waiting[name].wait()
        self.times.append(time.monotonic() - begun)

    async def _look(self, saga_id: UUID) -> None:
        store = self._running.stores[SAGAS]
        status = None
        while status is not SagaStatus.COMPLETED:
            await asyncio.sleep(_LOOK_SECONDS)  # between two looks, which cost time
            (status,) = [each.status for each in await store.find(SagaFilter(id=saga_id))]

    async def many(self, seconds: float, at_once: int) -> int:
        """Run them for so long; returns how many."""
        until, before = time.monotonic() + seconds, self.started

        async def work() -> None:
            while time.monotonic() < until:
                await self.one()

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
        return self.started - before


@asynccontextmanager
async def _databases(conditions: Conditions) -> AsyncIterator[tuple[list[str], Wire | None]]:
    """The databases, behind a proxy if trips are counted."""
    if not conditions.variant.endswith("-trips"):
        yield list(conditions.databases), None
        return
    place = urlsplit(conditions.databases[0])
    assert place.hostname is not None
    assert place.port is not None
    async with wire(place.hostname, place.port, PostgresReader) as (port, counted):
        yield [each.replace(f":{place.port}/", f":{port}/") for each in conditions.databases], counted


async def measure(conditions: Conditions) -> Mapping[str, float]:
    """Run the sagas, and count."""
    saga = _SAGAS[conditions.variant.removesuffix("-trips")]
    services = [declared.publisher(saga), *([declared.worker()] if saga is declared.Commands else [])]
    async with _databases(conditions) as (databases, counted):
        settings = {
            each.name: declared.settings(each.name, database, conditions)
            for each, database in zip(services, databases, strict=False)
        }
        async with Runtime(*services, settings=settings) as runtime:
            gc.collect()
            gc.freeze()  # as `freehold.run` does
            async with counted_commits(conditions.databases[: len(services)]) as commits:
                return await _measured(conditions, _Sagas(runtime["bench"], saga), runtime["bench"], counted, commits)


async def _measured(
    conditions: Conditions, sagas: _Sagas, running: RunningService, counted: Wire | None, commits: Commits
) -> Mapping[str, float]:
    await sagas.many(0.0 if conditions.seconds < 1 else 0.5, conditions.concurrency)
    for _ in range(_WARM_UP):
        await sagas.one()
    sagas.times.clear()
    await asyncio.sleep(_SETTLED_SECONDS)  # what follows the last commit is not counted
    await commits.since()
    began, trips = time.monotonic(), counted.trips if counted else 0
    client, servers = time.process_time(), cpu_seconds(conditions.pids)
    done = await sagas.many(conditions.seconds, conditions.concurrency)
    seconds = time.monotonic() - began
    client, servers = time.process_time() - client, cpu_seconds(conditions.pids) - servers
    trips = counted.trips - trips if counted else 0
    await asyncio.sleep(_SETTLED_SECONDS)  # what follows the last commit is counted too
    committed = await commits.since()
    found = await running.stores[SAGAS].count()
    expect(sum(found.values()), sagas.started, "sagas in the database")
    expect([status.value for _, status in found], ["completed"], "status of all sagas")
    figures = {"per_second": done / seconds, "p50_ms": median(sagas.times) * 1000, "commits": committed / done}
    if sagas.looks:
        return {"commits": committed / done}
    if counted is None:
        return {**figures, "cpu_ms": (client + servers) * 1000 / done}
    return {"trips": trips / done, "commits": committed / done}


if __name__ == "__main__":
    print_figures(program.run(measure(given())))
