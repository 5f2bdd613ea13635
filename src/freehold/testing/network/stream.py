"""One connection through a proxy: a stream in each direction, under conditions that may change at any time.

Testing: imports the standard library and its sibling `lost_answers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from freehold.testing.network.lost_answers import AnswerWatch, Loss

__all__ = ["Conditions", "Connection", "Direction", "Observer", "abort"]

_CHUNK_BYTES: Final = 16384
_CHUNKS_MAX: Final = 256
"""How many pieces wait in one direction before the sender has to wait too."""
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class Direction(StrEnum):
    """The direction of what passes through a proxy."""

    TO_SERVER = "to-server"
    TO_CLIENT = "to-client"


class Observer(Protocol):
    """Sees what passes over one connection, in order, before it is passed on."""

    def from_client(self, data: bytes) -> None:
        """What the client has sent."""

    def from_server(self, data: bytes) -> None:
        """What the server has sent."""


@dataclass(slots=True)
class Conditions:
    """The network in one direction, for all connections of a proxy."""

    delay_seconds: float = 0.0
    bytes_per_second: float = math.inf
    passes: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Everything passes."""
        self.passes.set()


@dataclass(slots=True)
class _Stream:
    """One direction of a connection. What comes is due after the delay, and waits while nothing passes.

    lost  half-open: what comes vanishes, the end of the connection too.
    """

    source: asyncio.StreamReader
    target: asyncio.StreamWriter
    conditions: Conditions
    look: Callable[[bytes], bytes]
    lost: bool = False
    _pieces: asyncio.Queue[tuple[float, bytes | None]] = field(default_factory=lambda: asyncio.Queue(_CHUNKS_MAX))

    async def receive(self) -> None:
        """Take what comes. An empty piece is the end, and None a reset: they pass like data, in order."""
        loop = asyncio.get_running_loop()
        data: bytes | None = None
        while data is None or data:
            try:
                data = await self.source.read(_CHUNK_BYTES)
            except OSError:
                await self._pieces.put((loop.time() + self.conditions.delay_seconds, None))
                return
            await self._pieces.put((loop.time() + self.conditions.delay_seconds, data))

    async def send(self) -> None:
        """Pass on what is due. Raises `ConnectionResetError` for a reset."""
        while data := await self._next():
            if not self.lost and (passed := self.look(data)):
                if self.target.is_closing():
                    raise ConnectionResetError
                self.target.write(passed)
                await self.target.drain()
        if self.lost:
            return
        if data is None:
            raise ConnectionResetError
        if not self.target.is_closing():
            with contextlib.suppress(OSError, RuntimeError):  # uvloop's error where it has just been closed
                self.target.write_eof()

    async def _next(self) -> bytes | None:
        due, data = await self._pieces.get()
        if (early := due - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(early)
        await self.conditions.passes.wait()
        if data and self.conditions.bytes_per_second < math.inf:
            await asyncio.sleep(len(data) / self.conditions.bytes_per_second)
        return data


class Connection:
    """A client and the server, joined. What one end does the other sees: its end, or its reset."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        conditions: dict[Direction, Conditions],
        watches: Sequence[AnswerWatch],
        observer: Observer | None,
    ) -> None:
        self._client, self._server = client[1], server[1]
        self._watches = list(watches)
        self._observer = observer
        self._streams = {
            Direction.TO_SERVER: _Stream(client[0], server[1], conditions[Direction.TO_SERVER], self._to_server),
            Direction.TO_CLIENT: _Stream(server[0], client[1], conditions[Direction.TO_CLIENT], self._to_client),
        }

    def watch(self, watch: AnswerWatch) -> None:
        """Look for another kind of requests."""
        self._watches.append(watch)

    async def run(self) -> None:
        """Pass on in both directions until both have ended."""
        try:
            async with asyncio.TaskGroup() as group:
                for stream in self._streams.values():
                    group.create_task(stream.receive())
                    group.create_task(stream.send())
        except* ConnectionError:
            self.reset()
        finally:
            self.cut()

    def cut(self) -> None:
        """Close both ends."""
        for end in (self._client, self._server):
            with contextlib.suppress(RuntimeError):  # the loop may be closed already
                end.close()

    def reset(self) -> None:
        """Reset both ends."""
        for end in (self._client, self._server):
            abort(end)

    def half_open(self, direction: Direction | None) -> None:
        """Lose everything that comes in this direction from now on, in both without one; no end is told."""
        for each, stream in self._streams.items():
            stream.lost = stream.lost or direction in {None, each}

    def _to_server(self, data: bytes) -> bytes:
        if self._observer is not None:
            self._observer.from_client(data)
        for watch in self._watches:
            watch.sent(data)
        return data

    def _to_client(self, data: bytes) -> bytes:
        if self._observer is not None:
            self._observer.from_server(data)
        for watch in self._watches:
            if watch.answered(data):
                watch.waits = False
                watch.answers.note_loss()
                self._lose(watch.answers.loss)
                return b""
        return b"" if any(watch.waits for watch in self._watches) else data

    def _lose(self, loss: Loss) -> None:
        match loss:
            case Loss.CUT:
                self.cut()
            case Loss.RESET:
                abort(self._client)
                self._server.close()
            case Loss.HALF_OPEN:
                self.half_open(None)


def abort(end: asyncio.StreamWriter) -> None:
    """Close a socket with RST, without what was not sent yet."""
    found = end.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        # A copy of the descriptor: the loop's own object may refuse the option.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(found.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    end.transport.abort()
