"""How a first connection to NATS is refused: the reason shows even if the server resets the connection at first."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from freehold.adapters.nats.connection import NatsConnection
from freehold.errors import Unavailable

_RESET_AT_ONCE = struct.pack("ii", 1, 0)
_INFO = b'INFO {"server_id":"x","version":"2.9.0","headers":true,"max_payload":1048576,"auth_required":true}\r\n'
_REFUSED = b"-ERR 'Authorization Violation'\r\n"


@asynccontextmanager
async def _server(resets: Callable[[int], bool]) -> AsyncIterator[str]:
    """A server that refuses all credentials, and resets those connections whose number says so."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        if resets(count):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
        else:
            writer.write(_INFO)
            await reader.readline()
            writer.write(_REFUSED)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_reason_of_a_refusal_shows_after_a_reset() -> None:
    async with _server(lambda number: number == 1) as url:
        with pytest.raises(Unavailable, match="refuses the credentials"):
            await NatsConnection(url, 30.0).open()


async def test_a_server_that_always_resets_is_an_outage_before_the_time_limit() -> None:
    async with _server(lambda _: True) as url:
        with pytest.raises(Unavailable, match="ConnectionResetError"):
            await asyncio.wait_for(NatsConnection(url, 3600.0).open(), 60.0)
