"""The harness that a broker's adapter provides for its conformance suite, and functions for the tests. Imports the
broker port only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

import pytest

from freehold.broker import (
    Batch,
    Broker,
    BrokerFeatures,
    BrokerOptions,
    Consumer,
    OutgoingMessage,
    PublishConfirmed,
    PublishFailed,
    Subscription,
)
from freehold.errors import FreeholdError, LeaseLost, Unavailable
from freehold.ids import new_id

__all__ = [
    "TOPIC",
    "BrokerHarness",
    "WipedHarness",
    "collect",
    "confirmed",
    "eventually",
    "fetch",
    "first_times",
    "key_of",
    "members_until",
    "messages",
    "needs",
    "numbers",
    "opened",
    "pauses",
    "publish",
    "read",
    "subscribe",
    "wiped",
]

TOPIC = "conformance.events"
_LIMIT_SECONDS = 60.0
_PULSE_SECONDS = 0.02


class BrokerHarness(Protocol):
    """A system under test, empty at first."""

    @property
    def features(self) -> BrokerFeatures:
        """The broker's features; a test that needs another one is skipped."""

    @property
    def options(self) -> BrokerOptions:
        """The options for `broker`: few partitions, short leases."""

    @property
    def url(self) -> str:
        """The URL of the same system for other processes; used with `features.several_processes`."""

    def broker(self, options: BrokerOptions | None = None) -> Broker:
        """A broker on this system, not open yet, as in another process."""

    async def pause(self, consumer: Consumer) -> None:
        """Stop a consumer's heartbeats, as if its process were frozen."""

    async def interrupt(self) -> None:
        """Make the system unreachable in the hardest way: kill the server, lock the file."""

    async def restore(self) -> None:
        """End the interruption."""


@runtime_checkable
class WipedHarness(Protocol):
    """An optional part of a harness, for an adapter that restores a broker that lost everything."""

    async def wipe(self) -> None:
        """Lose all messages, positions and members while members and publishers are working, in the hardest way: the
        server is killed and starts again empty, the file is deleted. The system can be used again when this returns;
        running members may notice a little later.
        """


def wiped(harness: BrokerHarness) -> WipedHarness:
    """Skip the test where the harness cannot wipe its system."""
    if not isinstance(harness, WipedHarness):
        pytest.skip(f"{harness.features.technology}: the harness cannot wipe it")
    return harness


def needs(harness: BrokerHarness, feature: str) -> None:
    """Skip the test where the broker does not claim a feature."""
    if not getattr(harness.features, feature):
        pytest.skip(f"{harness.features.technology} does not have the feature {feature}")


@asynccontextmanager
async def opened(harness: BrokerHarness, options: BrokerOptions | None = None) -> AsyncIterator[Broker]:
    """Open a broker for the length of a block."""
    broker = harness.broker(options)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


def subscribe(broker: Broker, group: str = "readers", start: Any = "earliest", topic: str = TOPIC) -> Any:
    """Join a group on the suite's topic."""
    return broker.subscribe(Subscription(group=group, topics=frozenset({topic}), start=start))


def messages(keys: Sequence[str], count: int, first: int = 0, topic: str = TOPIC) -> Sequence[OutgoingMessage]:
    """Make messages `key:number`, with rising numbers and alternating keys."""
    return [
        OutgoingMessage(id=new_id(), topic=topic, key=key, document=f"{key}:{number}".encode())
        for number in range(first, first + count)
        for key in [keys[number % len(keys)]]
    ]


async def publish(broker: Broker, outgoing: Sequence[OutgoingMessage]) -> None:
    """Publish, and assert that all is confirmed."""
    outcomes = await broker.publish(outgoing, 10.0)
    assert [type(outcome) for outcome in outcomes] == [PublishConfirmed] * len(outgoing)


async def fetch(consumer: Consumer, limit: int = 100, wait_seconds: float = _LIMIT_SECONDS) -> Batch:
    """Fetch a batch, and assert that one comes."""
    batch = await consumer.fetch(limit, wait_seconds)
    assert batch is not None, "nothing came in time"
    assert len(batch.deliveries) in range(1, limit + 1)
    return batch


def read(batch: Batch) -> list[str]:
    """The documents of a batch."""
    return [delivery.document.decode() for delivery in batch.deliveries]


async def collect(consumer: Consumer, count: int, limit: int = 100) -> list[str]:
    """Fetch and acknowledge until `count` different documents came; a lost lease on a slow machine is no failure."""
    seen: list[str] = []
    deadline = time.monotonic() + _LIMIT_SECONDS
    while len(set(seen)) < count:
        batch = await fetch(consumer, limit, max(0.0, deadline - time.monotonic()))
        seen.extend(read(batch))
        try:
            await batch.ack(len(batch.deliveries))
        except LeaseLost:
            continue
    return first_times(seen)


async def members_until(consumer: Consumer, seen: list[str], enough: Callable[[], bool], limit: int = 10) -> None:
    """Work as a member until `enough` returns True, or the consumer is closed."""
    while not enough():
        try:
            batch = await consumer.fetch(limit, 0.2)
            if batch is not None:
                seen.extend(read(batch))
                await batch.ack(len(batch.deliveries))
        except LeaseLost:
            continue
        except Unavailable:
            await asyncio.sleep(0.05)
        except FreeholdError:
            return


async def eventually(check: Callable[[], Any], limit_seconds: float = _LIMIT_SECONDS) -> Any:
    """Call `check` until its result is true, and return it."""
    deadline = time.monotonic() + limit_seconds
    while True:
        answer = await check()
        if answer:
            return answer
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def pauses() -> AsyncIterator[list[float]]:
    """Record the pauses of this process during a block, in seconds."""
    found = [0.0]

    async def watch() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(_PULSE_SECONDS)
            found.append(time.monotonic() - begun - _PULSE_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield found
    finally:
        watching.cancel()


def first_times(documents: Sequence[str]) -> list[str]:
    """The documents without duplicates."""
    return list(dict.fromkeys(documents))


def key_of(document: str) -> str:
    """The key in a document."""
    return document.rpartition(":")[0]


def numbers(documents: Sequence[str], key: str) -> list[int]:
    """The numbers of a key's documents, in order."""
    return [int(document.rpartition(":")[2]) for document in documents if key_of(document) == key]


async def confirmed(
    broker: Broker, outgoing: Sequence[OutgoingMessage], timeout_seconds: float, log: str = ""
) -> list[bool]:
    """Publish and return what was confirmed; everything else must be `Unavailable`."""
    try:
        outcomes = await broker.publish(outgoing, timeout_seconds, log=log)
    except Unavailable:
        return [False] * len(outgoing)
    for outcome in outcomes:
        if isinstance(outcome, PublishFailed):
            assert isinstance(outcome.error, Unavailable)
    return [isinstance(outcome, PublishConfirmed) for outcome in outcomes]
