"""Reading the last message of every subject under a filter. Adapter: imports the driver and its package."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection, encode
from freehold.adapters.nats.errors import ApiError
from freehold.errors import OperationTimeout, Unavailable
from freehold.ids import new_id

__all__ = ["snapshot"]

_INACTIVE_SECONDS: Final = 10.0
_ATTEMPTS: Final = 4


async def snapshot(
    connection: NatsConnection, stream: str, subject: str, timeout_seconds: float
) -> Sequence[tuple[int, Msg]]:
    """Return (number in the stream, message) for each subject that matches. Raises `Unavailable`.

    A message that is replaced while it is read may be missed; then it is read again.
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
        raise Unavailable("NATS cannot read the groups' records", hint=error.message) from error
    pending = int(made["num_pending"])
    try:
        found = await _collect(connection, stream, name, pending, timeout_seconds) if pending else []
        return pending, found
    finally:
        with contextlib.suppress(Unavailable):
            await connection.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}", b"")


async def _collect(
    connection: NatsConnection, stream: str, name: str, pending: int, timeout_seconds: float
) -> Sequence[tuple[int, Msg]]:
    found: list[tuple[int, Msg]] = []
    ended = asyncio.Event()

    async def received(message: Msg) -> None:
        if not message.reply.startswith("$JS.ACK."):
            ended.set()
            return
        parts = message.reply.split(".")
        found.append((int(parts[5]), message))
        if parts[8] == "0" or len(found) == pending:
            ended.set()

    inbox = connection.inbox()
    subscription = await connection.subscribe(inbox, received)
    try:
        question = encode({"batch": pending, "no_wait": True})
        await connection.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", question, inbox)
        async with asyncio.timeout(timeout_seconds):
            await ended.wait()
    except TimeoutError as error:
        raise OperationTimeout("NATS did not send the groups' records in time") from error
    finally:
        with contextlib.suppress(Exception):
            await subscription.unsubscribe()
    return found
