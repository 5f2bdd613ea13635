"""A service in memory for tests of the runtime: its messages, and helpers to bring messages to it and to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from freehold import RunningService, Service, Settings, command, event
from freehold.adapters.memory.broker import MemoryBroker
from freehold.broker import Subscription
from freehold.clock import SystemClock
from freehold.ids import new_id
from freehold.messages import Envelope, decode_envelope, encode_body, message_type
from freehold.runtime.adapters import open_broker
from freehold.transaction import outgoing

__all__ = [
    "Answered",
    "Happened",
    "Request",
    "envelope_of",
    "eventually",
    "memory_broker",
    "put",
    "read_topic",
    "running",
    "settings_for",
]


@event("elsewhere.happened", key="key")
class Happened:
    key: str
    number: int


@command("trial.request", key="key")
class Request:
    key: str
    number: int


@dataclass(frozen=True)
class Answered:
    number: int


def settings_for(service: str, **changes: Any) -> Settings:
    return Settings.load(service, environ={}, **{"database": "memory://", "broker": "memory://", **changes})


def memory_broker() -> MemoryBroker:
    broker = open_broker("memory://")
    assert isinstance(broker, MemoryBroker)
    return broker


@asynccontextmanager
async def running(service: Service, broker: MemoryBroker, **settings: Any) -> AsyncIterator[RunningService]:
    async with RunningService(service, settings_for(service.name, **settings), broker=broker) as started:
        yield started


def envelope_of(message: object, **changes: Any) -> Envelope:
    declared = message_type(message)
    message_id = new_id()
    made = Envelope(
        id=message_id,
        type=declared.name,
        version=declared.version,
        kind=declared.kind,
        source="test",
        topic=declared.topic,
        key=declared.partition_key(message) or str(message_id),
        time=SystemClock().now(),
        hlc=1,
        correlation_id=message_id,
        body=encode_body(message),
    )
    return replace(made, **changes)


async def put(broker: MemoryBroker, *envelopes: Envelope) -> None:
    """Publish as another service would."""
    await broker.publish([outgoing(each) for each in envelopes], 5.0)


async def read_topic(broker: MemoryBroker, topic: str, wanted: int, seconds: float = 30.0) -> list[Envelope]:
    """The first messages of a topic."""
    consumer = await broker.subscribe(Subscription(group=f"reader-{new_id()}", topics=frozenset({topic})))
    found: list[Envelope] = []
    async with asyncio.timeout(seconds):
        while len(found) < wanted:
            batch = await consumer.fetch(100, 0.5)
            if batch is not None:
                found += [decode_envelope(each.document) for each in batch.deliveries]
                await batch.ack(len(batch.deliveries))
    await consumer.close()
    return found


async def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.005)
