"""The cost of loading a stream of 10,000 events, beside fetching its bytes and decoding them by hand.

By hand: one plain query of the bodies, a decoder for each class, and the same `evolve`. Both alternate; each figure is
the median of the runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

import msgspec
from benchmarks.figures import Figure

from freehold import Decider, Repository, Service, Settings, SnapshotPolicy, event
from freehold.messages import registry
from freehold.runtime import open_stores, service_context
from freehold.transaction import Transaction, Transactions

EVENT_COUNT = 10_000
RUNS = 15
_BODIES = "SELECT type, schema_version, data FROM freehold_event WHERE stream = $1 ORDER BY version"


@event("bench.line-added", key="order_id")
class LineAdded:
    """A line was added."""

    order_id: UUID
    product: str
    quantity: int
    price_cents: int
    note: str


@event("bench.line-removed", key="order_id")
class LineRemoved:
    """A line was removed."""

    order_id: UUID
    product: str
    price_cents: int


@dataclass(frozen=True, slots=True)
class Basket:
    """The content of a basket."""

    lines: int = 0
    total_cents: int = 0


def evolve(basket: Basket, happened: LineAdded | LineRemoved) -> Basket:
    """The state after one event."""
    if type(happened) is LineAdded:
        return Basket(basket.lines + 1, basket.total_cents + happened.price_cents)
    return Basket(basket.lines - 1, basket.total_cents - happened.price_cents)


def decide(_: Basket, count: int) -> list[LineAdded | LineRemoved]:
    """The events for so many lines, of which every third one is removed again."""
    order_id = uuid4()
    return [
        LineRemoved(order_id, f"product-{number}", 1299)
        if number % 3 == 2
        else LineAdded(order_id, f"product-{number}", 2, 1299, "leave it with the neighbours, please")
        for number in range(count)
    ]


DECIDER = Decider("basket", Basket(), decide, evolve)
PLAIN = Repository(DECIDER)
SNAPSHOTS = Repository(DECIDER, snapshots=SnapshotPolicy(every=100))


async def figures(url: str) -> AsyncIterator[Figure]:
    """The milliseconds of a load, without and with a snapshot."""
    stores = open_stores(url)
    await stores.database.open()
    await stores.database.upgrade()
    try:
        settings = Settings.load("bench", environ={}, database=url)
        transactions = Transactions(service_context(Service("bench"), stores, settings))
        found = await _measure(transactions, EVENT_COUNT, RUNS)
        what = f"loading an aggregate of {EVENT_COUNT:,} events"
        yield Figure(what, found["load"], "ms", found["floor"])
        yield Figure("  only fetching", found["fetch"], "ms")
        yield Figure("  with a snapshot", found["load with snapshot"], "ms")
    finally:
        await stores.database.close()


async def _measure(transactions: Transactions, events: int, runs: int) -> dict[str, float]:
    basket, snapshotted = uuid4(), uuid4()
    for _ in range(events // 1000):
        await PLAIN.handle(transactions, basket, 1000)
        await SNAPSHOTS.handle(transactions, snapshotted, 1000)

    async def floor(tx: Transaction) -> None:
        rows = await tx.sql.fetch(_BODIES, (PLAIN.stream(basket),))
        decoders = {
            (each.name, each.version): msgspec.json.Decoder(each.cls).decode
            for each in registry
            if each.service == "bench"
        }
        state = Basket()
        for name, version, body in rows:
            state = evolve(state, decoders[name, version](body))
        assert state.lines

    async def fetch(tx: Transaction) -> None:
        await tx.sql.fetch(_BODIES, (PLAIN.stream(basket),))

    async def load(tx: Transaction) -> None:
        await PLAIN.load(tx, basket)

    async def load_snapshot(tx: Transaction) -> None:
        await SNAPSHOTS.load(tx, snapshotted)

    return await _medians(
        transactions, {"fetch": fetch, "floor": floor, "load": load, "load with snapshot": load_snapshot}, runs
    )


async def _medians(
    transactions: Transactions, works: dict[str, Callable[[Transaction], Awaitable[None]]], runs: int
) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            async with transactions.begin() as tx:
                begun = time.perf_counter()
                await work(tx)
                taken[name].append((time.perf_counter() - begun) * 1000)
    return {name: statistics.median(each) for name, each in taken.items()}
