"""Reads the last message of every subject that matches a filter. Adapter: imports the driver and its package."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.consumers import take
from freehold.adapters.nats.errors import STREAM_NOT_FOUND, ApiError
from freehold.errors import Unavailable
from freehold.ids import new_id

__all__ = ["snapshot"]

_INACTIVE_SECONDS: Final = 10.0
_ATTEMPTS: Final = 4


async def snapshot(
    connection: NatsConnection, stream: str, subject: str, timeout_seconds: float
) -> Sequence[tuple[int, Msg]]:
    """Return (number in the stream, message) for each subject that matches; empty for a missing stream.

    A message that is replaced during the read may be missed; then all are read again. Raises `Unavailable`.
    """
    found: dict[str, tuple[int, Msg]] = {}
    for _ in range(_ATTEMPTS):
        expected, messages = await _read(connection, stream, subject, timeout_seconds)
        for number, message in messages:
            known = found.get(message.subject)
            if known is None or known[0] < number:
                found[message.subject] = (number, message)
        if len(found) >= expected:
            break
    return list(found.values())


async def _read(
    connection: NatsConnection, stream: str, subject: str, timeout_seconds: float
) -> tuple[int, Sequence[tuple[int, Msg]]]:
    name = f"snapshot-{new_id()}"
    config = {
        "name": name,
        "deliver_policy": "last_per_subject",
        "ack_policy": "none",
        "filter_subject": subject,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": int(_INACTIVE_SECONDS * 1e9),
    }
    try:
        made = await connection.ask(
            f"CONSUMER.CREATE.{stream}.{name}.{subject}", {"stream_name": stream, "config": config}
        )
    except ApiError as error:
        if error.number == STREAM_NOT_FOUND:
            return 0, []
        raise Unavailable("NATS cannot read the groups' records", hint=error.message) from error
    pending = int(made["num_pending"])
    try:
        found = await take(connection, stream, name, pending, timeout_seconds) if pending else []
        return pending, found
    finally:
        with contextlib.suppress(Unavailable):
            await connection.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}", b"")
