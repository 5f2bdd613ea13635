"""Creates consumers with fixed names, and reads what a consumer has. Adapter: imports the driver and its package."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from nats.aio.msg import Msg

from freehold.adapters.nats.connection import NatsConnection, encode
from freehold.adapters.nats.errors import CONSUMER_NOT_FOUND, ApiError
from freehold.errors import OperationTimeout

__all__ = ["make_consumer", "take"]


async def make_consumer(connection: NatsConnection, stream: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Create a consumer; one with the same name is deleted first. Raises `ApiError`, `Unavailable`.

    Pending requests to the deleted one end: their senders get a status that it is gone.
    """
    name = config["name"]
    try:
        await connection.ask(f"CONSUMER.DELETE.{stream}.{name}")
    except ApiError as error:
        if error.number != CONSUMER_NOT_FOUND:
            raise
    return await connection.ask(
        f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}", {"stream_name": stream, "config": config}
    )


async def take(
    connection: NatsConnection, stream: str, name: str, count: int, timeout_seconds: float
) -> Sequence[tuple[int, Msg]]:
    """Return (number in the stream, message) for the messages that a consumer has now, at most `count`.

    Raises `Unavailable`.
    """
    found: list[tuple[int, Msg]] = []
    ended = asyncio.Event()

    async def received(message: Msg) -> None:
        if not message.reply.startswith("$JS.ACK."):
            ended.set()
            return
        parts = message.reply.split(".")
        found.append((int(parts[5]), message))
        if parts[8] == "0" or len(found) == count:
            ended.set()

    inbox = connection.inbox()
    subscription = await connection.subscribe(inbox, received)
    try:
        question = encode({"batch": count, "no_wait": True})
        await connection.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", question, inbox)
        async with asyncio.timeout(timeout_seconds):
            await connection.unless_broken(ended.wait())
    except TimeoutError as error:
        raise OperationTimeout("NATS did not send a consumer's messages in time") from error
    finally:
        with contextlib.suppress(Exception):
            await subscription.unsubscribe()
    return found
