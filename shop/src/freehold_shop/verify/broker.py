"""Reads the messages that the broker still has, without consuming any. Imports readers, NATS.

The embedded broker's file is read in one snapshot. A JetStream stream is read through an ordered consumer, which
acknowledges nothing and is removed afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from freehold import ConfigurationError, MissingDriver, Unavailable
from freehold_shop.verify.messages import load_messages
from freehold_shop.verify.readers import PAGE_ROWS, Reader, open_reader
from freehold_shop.verify.scratch import Scratch

__all__ = ["load_broker"]

_LIMIT_SECONDS = 10.0


async def load_broker(scratch: Scratch, url: str, prefix: str) -> None:
    """Load the broker's messages, and since when it has them. Raises `Unavailable`, `ConfigurationError`."""
    match urlsplit(url).scheme:
        case "embedded":
            await asyncio.to_thread(_load_embedded, scratch, url)
        case "nats":
            await _load_nats(scratch, url, prefix)
        case scheme:
            raise ConfigurationError(f"a broker of scheme '{scheme}' cannot be verified", hint="embedded or nats")


def _load_embedded(scratch: Scratch, url: str) -> None:
    with open_reader(url, "broker") as reader:
        load_messages(scratch, _documents(reader))
        first, at_ms = next(
            reader.rows(
                "SELECT coalesce(min(seq), 1), CAST(coalesce(min(stored_at), 0) * 1000 AS INTEGER) FROM message"
            )
        )
    _note_span(scratch, first, at_ms)


def _documents(reader: Reader) -> Iterator[tuple[bytes, int]]:
    for document, stored_ms in reader.rows(
        "SELECT document, CAST(stored_at * 1000 AS INTEGER) FROM message ORDER BY seq"
    ):
        yield bytes(document), stored_ms


async def _load_nats(scratch: Scratch, url: str, prefix: str) -> None:
    try:
        import nats
    except ImportError as error:
        raise MissingDriver("nats-py", extra="nats") from error
    try:
        client = await nats.connect(url.split(","), connect_timeout=5, max_reconnect_attempts=3)
    except (OSError, nats.errors.Error) as error:
        raise Unavailable("NATS cannot be reached", hint="check that nats-server runs") from error
    try:
        await _read_stream(scratch, client.jetstream(), prefix)
    except (TimeoutError, nats.errors.Error) as error:
        raise Unavailable("NATS did not deliver its messages", hint="check JetStream") from error
    finally:
        await client.close()


async def _read_stream(scratch: Scratch, stream: Any, prefix: str) -> None:
    state = (await stream.stream_info(prefix)).state
    subscription = await stream.subscribe(f"{prefix}.log.>", stream=prefix, ordered_consumer=True)
    page: list[tuple[bytes, int]] = []
    first_at_ms, left = 0, state.messages
    while left:
        message = await subscription.next_msg(timeout=_LIMIT_SECONDS)
        stored_ms = int(message.metadata.timestamp.timestamp() * 1000)
        first_at_ms = first_at_ms or stored_ms
        page.append((message.data, stored_ms))
        left = message.metadata.num_pending
        if len(page) == PAGE_ROWS or not left:
            await asyncio.to_thread(load_messages, scratch, tuple(page))
            page.clear()
    await subscription.unsubscribe()
    _note_span(scratch, state.first_seq or 1, first_at_ms)


def _note_span(scratch: Scratch, first: int, first_at_ms: int) -> None:
    scratch.load("INSERT INTO broker_span VALUES (?, ?)", [(first_at_ms, int(first <= 1))])
