"""Counts the messages that a group has not read. Adapter: imports the broker port and its package."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.consumers import make_consumer, take
from freehold.adapters.nats.errors import ApiError, NobodyAnswers, as_outage
from freehold.adapters.nats.identity import LogIdentity, read_identity
from freehold.adapters.nats.log import read_record
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.snapshot import snapshot
from freehold.broker import TopicLag
from freehold.clock import Clock
from freehold.errors import Unavailable
from freehold.groups.log import TopicPartition

__all__ = ["read_lag"]

_ATTEMPTS: Final = 3
_NEXT_SECONDS: Final = 1.0


async def read_lag(
    connection: NatsConnection, names: Names, group: str, timeout_seconds: float, clock: Clock
) -> Sequence[TopicLag]:
    """Count the messages behind each position, by topic. Only one call at a time in a process. Raises `Unavailable`."""
    records = await snapshot(connection, names.bucket(group), f"{names.group(group)}.place.>", timeout_seconds)
    identity = await read_identity(connection, names)
    found = await asyncio.gather(
        *(_behind(connection, names, group, message, identity, clock) for _, message in records)
    )
    topics: dict[str, tuple[int, float]] = {}
    for topic, pending, age in filter(None, found):
        before = topics.get(topic, (0, 0.0))
        topics[topic] = (before[0] + pending, max(before[1], age))
    return [
        TopicLag(group=group, topic=topic, pending=pending, oldest_seconds=age)
        for topic, (pending, age) in sorted(topics.items())
    ]


async def _behind(
    connection: NatsConnection, names: Names, group: str, message: Msg, identity: LogIdentity, clock: Clock
) -> tuple[str, int, float] | None:
    """The topic, number and age of unread messages of one partition; None for a topic without a right any longer."""
    place = names.read_place(group, message.subject)
    if place is None:
        return None
    position = read_record(place, message.data, 0).position if identity.knows(message.data) else 0
    pending, age = 0, None
    for _ in range(_ATTEMPTS):
        try:
            counter, subject = names.counter(group, place), identity.layout.message(place)
            pending = await _count(connection, names, counter, subject, position)
        except NobodyAnswers:
            await read_identity(connection, names)
            return None
        age = await _oldest(connection, names, group, place, clock) if pending else 0.0
        if age is not None:
            break
    return place.topic, pending, age or 0.0


async def _count(connection: NatsConnection, names: Names, name: str, subject: str, position: int) -> int:
    """The number of messages behind a position: the server counts those that a new consumer would get."""
    config: dict[str, Any] = {
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": position + 1,
        "ack_policy": "none",
        "filter_subject": subject,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 5_000_000_000,
    }
    try:
        made = await make_consumer(connection, names.log, config)
    except ApiError as error:
        raise as_outage(error, "NATS cannot count the messages of a group") from error
    return int(made["num_pending"])


async def _oldest(
    connection: NatsConnection, names: Names, group: str, place: TopicPartition, clock: Clock
) -> float | None:
    """The age of the first message of the consumer. None where another process created the consumer again meanwhile."""
    try:
        found = await take(connection, names.log, names.counter(group, place), 1, _NEXT_SECONDS)
    except Unavailable:
        connection.check()
        return None
    if not found:
        return None
    at = int(found[0][1].reply.split(".")[7]) / 1e9
    return max(0.0, clock.now().timestamp() - at)
