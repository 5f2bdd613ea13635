"""A test write to JetStream, its limits, and the state of a group. Adapter: imports the ports and its package."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from freehold.adapters.nats.connection import NatsConnection, encode
from freehold.adapters.nats.errors import ApiError
from freehold.adapters.nats.log import read_record
from freehold.adapters.nats.names import Layout, Names
from freehold.adapters.nats.publisher import Publication, Publisher
from freehold.adapters.nats.snapshot import snapshot
from freehold.adapters.nats.streams import ensure_stream
from freehold.broker import GroupPlace, GroupState
from freehold.database import CheckResult
from freehold.errors import BrokerError, FreeholdError, MessageRejected, OperationTimeout, Unavailable
from freehold.groups.log import TopicPartition

__all__ = ["examine_limits", "probe", "read_group", "server_time"]

_NOT_THE_STREAM: Final = 10060
_EXPECTED_STREAM: Final = "Nats-Expected-Stream"
_NO_STREAM: Final = "-"
"""A name that no stream has. The server checks the expected stream before it stores a message."""
_RECORD_BYTES: Final = 1024
_NEARLY: Final = 0.9
_ROOM: Final = "make room: raise the limit of the account or stream, or delete what is not needed"


async def probe(
    connection: NatsConnection, publisher: Publisher, names: Names, name: str, timeout_seconds: float
) -> None:
    """Store a record in the bucket of a group, and check that the log accepts messages: that it exists, has room, and
    this user may publish to it. The bucket is created where it is missing.

    No message is stored in the log, because that would use up one of its numbers. Raises the error that a message would
    get: `Unavailable`, `BrokerError`.
    """
    record = Publication(names.probe(name), encode({}))
    try:
        async with asyncio.timeout(timeout_seconds):
            info = await connection.ask(f"STREAM.INFO.{names.log}")
            await ensure_stream(connection, names.bucket_config(name))
            # A subject of the service's own; the server refuses the message, so nothing is stored.
            subject = Layout.read(info["config"]).message(TopicPartition(f"{name}.probe", 0))
            refused = Publication(subject, b"", {_EXPECTED_STREAM: _NO_STREAM})
            stored, answer = await publisher.publish([record, refused], timeout_seconds)
    except ApiError as error:
        raise Unavailable("a stream of this prefix is gone, and cannot be created", hint=error.message) from error
    except TimeoutError as error:
        raise OperationTimeout(f"NATS did not store a record within {timeout_seconds:g} s") from error
    if isinstance(stored, FreeholdError):
        raise stored
    if not _is_expected(answer):
        raise answer if isinstance(answer, FreeholdError) else BrokerError("the stream of messages has another name")
    _check_room(info)


def _is_expected(answer: Mapping[str, Any] | FreeholdError) -> bool:
    """Whether the stream replied that it is not the named one: the message reached it, and nothing was stored."""
    return isinstance(answer, Unavailable | MessageRejected) and f"({_NOT_THE_STREAM}" in answer.message


def _check_room(info: Mapping[str, Any]) -> None:
    """Raise `Unavailable` where the stream has no room. One that discards old messages always has."""
    config, state = info["config"], info["state"]
    if config.get("sealed"):
        raise Unavailable("the stream of messages is sealed", hint="it accepts no more messages: create another one")
    if config.get("discard") != "new":
        return
    for limit, used, more in (("max_msgs", "messages", 1), ("max_bytes", "bytes", _RECORD_BYTES)):
        most = int(config.get(limit, -1))
        if 0 < most < int(state[used]) + more:
            raise Unavailable(f"the stream of messages is at its limit: {limit} is {most}", hint=_ROOM)


async def examine_limits(connection: NatsConnection, info: Mapping[str, Any]) -> CheckResult:
    """Check the use of the limits of account and stream. The server does not report its disk to clients."""
    account = await connection.ask("INFO")
    used = {
        "storage of the account": (account.get("storage", 0), account.get("limits", {}).get("max_storage", -1)),
        "messages of the stream": (info["state"]["messages"], info["config"].get("max_msgs", -1)),
        "bytes of the stream": (info["state"]["bytes"], info["config"].get("max_bytes", -1)),
    }
    limited = {what: (count, most) for what, (count, most) in used.items() if most > 0}
    usage = [f"{what}: {count} of {most}" for what, (count, most) in limited.items()]
    near = [what for what, (count, most) in limited.items() if count >= _NEARLY * most]
    detail = "; ".join(usage) if usage else "neither account nor stream has a limit; the server's disk is not known"
    return CheckResult("broker limits", ok=not near, detail=detail, fix=_ROOM if near else "")


async def read_group(connection: NatsConnection, names: Names, group: str, timeout_seconds: float) -> GroupState:
    """Read the partitions and heartbeats of a group. Raises `Unavailable`."""
    places: list[GroupPlace] = []
    heartbeats: dict[str, int] = {}
    for number, message in await snapshot(connection, names.bucket(group), f"{names.group(group)}.>", timeout_seconds):
        member, place = names.read_member(group, message.subject), names.read_place(group, message.subject)
        if member is not None:
            heartbeats[member] = number
        elif place is not None:
            record = read_record(place, message.data, number)
            places.append(GroupPlace(place.topic, place.partition, record.owner, record.position))
    return GroupState(sorted(places, key=lambda each: (each.topic, each.partition)), heartbeats)


def server_time(info: Mapping[str, Any]) -> datetime | None:
    """The server's time of a reply; None from a server before 2.10."""
    stamp = info.get("ts")
    # It has nanoseconds, which `datetime` does not read.
    return None if stamp is None else datetime.fromisoformat(f"{stamp[:19]}.{_micros(stamp)}").replace(tzinfo=UTC)


def _micros(stamp: str) -> str:
    return stamp[20:26].rstrip("Z").ljust(6, "0")
