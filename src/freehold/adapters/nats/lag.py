"""How far a group is behind. Adapter: imports the broker port and its package."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection, encode
from freehold.adapters.nats.errors import ApiError
from freehold.adapters.nats.identity import LogIdentity, read_identity
from freehold.adapters.nats.log import read_record
from freehold.adapters.nats.names import Names
from freehold.adapters.nats.snapshot import snapshot
from freehold.broker import TopicLag
from freehold.clock import Clock
from freehold.errors import Unavailable
from freehold.ids import new_id
from freehold.leases.log import Place

__all__ = ["read_lag"]


async def read_lag(
    connection: NatsConnection, names: Names, group: str, timeout_seconds: float, clock: Clock
) -> Sequence[TopicLag]:
    """Count what lies behind each position, by topic. Raises `Unavailable`."""
    records = await snapshot(connection, names.bucket, f"{names.group(group)}.place.>", timeout_seconds)
    identity = await read_identity(connection, names)
    found = await asyncio.gather(
        *(_behind(connection, names, group, message, identity, clock) for _, message in records)
    )
    topics: dict[str, tuple[int, float]] = {}
    for topic, pending, age in found:
        before = topics.get(topic, (0, 0.0))
        topics[topic] = (before[0] + pending, max(before[1], age))
    return [
        TopicLag(group=group, topic=topic, pending=pending, oldest_seconds=age)
        for topic, (pending, age) in sorted(topics.items())
    ]


async def _behind(
    connection: NatsConnection, names: Names, group: str, message: Msg, identity: LogIdentity, clock: Clock
) -> tuple[str, int, float]:
    place = names.read_place(group, message.subject)
    if place is None:
        return "", 0, 0.0
    position = read_record(place, message, 0).position if identity.knows(message) else 0
    pending = await _count(connection, names, place, position)
    age = await _oldest(connection, names, place, position, clock) if pending else 0.0
    return place.topic, pending, age


async def _count(connection: NatsConnection, names: Names, place: Place, position: int) -> int:
    """A consumer that is made only to be asked: the server counts what it would get."""
    name = f"lag-{new_id()}"
    config: dict[str, Any] = {
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": position + 1,
        "ack_policy": "none",
        "filter_subject": names.message(place),
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 5_000_000_000,
    }
    try:
        made = await connection.ask(
            f"CONSUMER.CREATE.{names.log}.{name}.{names.message(place)}",
            {"stream_name": names.log, "config": config},
        )
    except ApiError as error:
        raise Unavailable("NATS does not tell how far a group is", hint=error.message) from error
    with contextlib.suppress(Unavailable):
        await connection.publish(f"$JS.API.CONSUMER.DELETE.{names.log}.{name}", b"")
    return int(made["num_pending"])


async def _oldest(connection: NatsConnection, names: Names, place: Place, position: int, clock: Clock) -> float:
    question = encode({"seq": position + 1, "next_by_subj": names.message(place)})
    message = await connection.request(f"$JS.API.DIRECT.GET.{names.log}", question)
    stamp = (message.headers or {}).get("Nats-Time-Stamp")
    if stamp is None:
        return 0.0
    # Nanoseconds, which `datetime` does not read.
    at = datetime.fromisoformat(f"{stamp[:19]}+00:00")
    return max(0.0, (clock.now() - at).total_seconds())
