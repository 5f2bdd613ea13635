"""Finds out whether the shop is quiet: nothing waits, nothing is in transit. Imports readers and Freehold's broker."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from freehold import Clock
from freehold.broker import Broker
from freehold_shop.verify.readers import open_reader

__all__ = ["Quietness", "oldest_unread_seconds", "wait_until_quiet"]

_POLL_SECONDS = 0.25
_QUIET_POLLS = 2

# Each gives one number. What needs attention waits for an operator and does not count: the shop can be quiet with it.
_BACKLOG: Mapping[str, str] = {
    "outbox messages": "SELECT count(*) FROM freehold_outbox",
    "deferred messages": "SELECT count(*) FROM freehold_deferred",
    "sagas": "SELECT count(*) FROM freehold_saga WHERE status IN ('running', 'compensating')",
    "read models behind": """SELECT count(*) FROM freehold_checkpoint AS reached
        JOIN freehold_projection AS live USING (projection, generation)
        WHERE live.state = 'live' AND EXISTS (SELECT 1 FROM freehold_event
            WHERE position > reached.position AND bucket % live.partitions = reached."partition")""",
}
_ORDERS_BACKLOG: Mapping[str, str] = {
    "orders": "SELECT count(*) FROM orders WHERE status IN ('placed', 'stock-reserved', 'payment-held')",
    "returns": "SELECT count(*) FROM order_return WHERE NOT (refunded AND restocked)",
}


@dataclass(frozen=True, slots=True)
class Quietness:
    """Whether the shop is quiet, and the counts of what is `moving`. `mark` grows with every event of orders."""

    quiet: bool
    moving: Mapping[str, int]
    mark: int

    @property
    def words(self) -> str:
        """The counts in words, for messages."""
        return ", ".join(f"{count} {what}" for what, count in self.moving.items())


async def wait_until_quiet(
    databases: Mapping[str, str], broker: Broker, clock: Clock, wait_seconds: float
) -> Quietness:
    """Return when nothing moves, or at the time limit. Opens and closes the broker. Raises `Unavailable`."""
    deadline = clock.monotonic() + wait_seconds
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(broker.close)
        await broker.open()
        quiet_polls = 0
        while True:
            moving = await _moving(databases, broker)
            quiet_polls = 0 if moving else quiet_polls + 1
            if quiet_polls == _QUIET_POLLS or (moving and clock.monotonic() >= deadline):
                mark = await asyncio.to_thread(_mark, databases["orders"])
                return Quietness(quiet=not moving, moving=moving, mark=mark)
            await clock.sleep(_POLL_SECONDS)


async def oldest_unread_seconds(services: Iterable[str], broker: Broker) -> float:
    """The age of the oldest message that a service has not read; infinity where the broker does not know it.

    Opens and closes the broker.
    """
    try:
        await broker.open()
        lags = [lag for service in services for lag in await broker.lag(service)]
        ages = [math.inf if lag.oldest_seconds is None else lag.oldest_seconds for lag in lags if lag.pending]
        return max(ages, default=0.0)
    finally:
        await broker.close()


async def _moving(databases: Mapping[str, str], broker: Broker) -> Mapping[str, int]:
    moving = await asyncio.to_thread(_backlog, databases)
    if not moving:
        moving["messages"] = await _unread(databases, broker)
    return +moving


def _mark(orders: str) -> int:
    with open_reader(orders, "orders") as reader:
        return int(next(reader.rows("SELECT coalesce(max(position), 0) FROM freehold_event"))[0])


async def _unread(services: Iterable[str], broker: Broker) -> int:
    return sum([lag.pending for service in services for lag in await broker.lag(service)])


def _backlog(databases: Mapping[str, str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for service, url in databases.items():
        queries = {**_BACKLOG, **_ORDERS_BACKLOG} if service == "orders" else _BACKLOG
        with open_reader(url, service) as reader:
            for what, query in queries.items():
                found[what] += next(reader.rows(query))[0]
    return +found
