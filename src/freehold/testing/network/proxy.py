"""A TCP proxy before a real server: delay, bandwidth, partition, one-way, half-open, cut, reset, lost answers.

Testing: imports the standard library and its siblings.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from freehold.testing.network.lost_answers import AnswerWatch, Exchange, Loss, LostAnswers
from freehold.testing.network.stream import Conditions, Connection, Direction, Observer, abort

__all__ = ["TcpProxy"]

_CONNECT_SECONDS: Final = 10.0
_HOST: Final = "127.0.0.1"


class TcpProxy:
    """A proxy on the loopback before a server, from the start to the end of its `async with` block.

    Faults begin with a call and end with `heal`, except those that end connections. They apply to all connections, also
    to later ones where nothing else is said. Without a fault everything passes unchanged and in order; the end of one
    side is the end of the other, and so is a reset. Use it in one event loop.

        async with TcpProxy("127.0.0.1", 5432) as proxy:
            database = proxy.through("postgresql://user:password@127.0.0.1:5432/orders")

    observer  is called for each connection; what it returns sees what passes.
    port      the port to listen on; any free one without it.
    """

    def __init__(
        self, host: str, server_port: int, *, port: int = 0, observer: Callable[[], Observer] | None = None
    ) -> None:
        self.port = port
        """The port of the proxy, once the block has begun."""
        self.accepted = 0
        """How many connections were accepted."""
        self._target = (host, server_port)
        self._observer = observer
        self._conditions = {direction: Conditions() for direction in Direction}
        self._refuses = False
        self._lost: list[LostAnswers] = []
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    def before(cls, url: str) -> Self:
        """A proxy before the server of a URL, which must have a host and a port."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            msg = "a proxy needs a URL with a host and a port"
            raise ValueError(msg)
        return cls(parts.hostname, parts.port)

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, _HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, and close all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def through(self, url: str) -> str:
        """The same URL with the host and the port of the proxy. What the proxy has to read must not be encrypted."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}{at}{_HOST}:{self.port}").geturl()

    def delay(self, seconds: float, direction: Direction | None = None) -> None:
        """Pass everything on so much later, in one direction or in each."""
        for each in self._chosen(direction):
            each.delay_seconds = seconds

    def limit(self, bytes_per_second: float, direction: Direction | None = None) -> None:
        """Pass on at most so many bytes a second, on each connection and in one direction or in each."""
        if not bytes_per_second > 0:
            msg = "a bandwidth is more than 0 bytes a second"
            raise ValueError(msg)
        for each in self._chosen(direction):
            each.bytes_per_second = bytes_per_second

    def partition(self, direction: Direction | None = None) -> None:
        """Pass nothing on until `heal`; given a direction, nothing in this one: a one-way network.

        What is sent meanwhile passes after `heal`, as TCP sends it again. New connections seem to be made, as the
        kernel accepts them.
        """
        for each in self._chosen(direction):
            each.passes.clear()

    def half_open(self, direction: Direction | None = None) -> None:
        """Lose all that comes over the open connections, for ever, in one direction or in each: as where a peer has
        vanished. Neither end is told. Later connections are not concerned.
        """
        for connection in self._connections:
            connection.half_open(direction)

    def refuse(self) -> None:
        """Reset every new connection, until `heal`."""
        self._refuses = True

    def cut(self) -> int:
        """Close both ends of all open connections; how many there were."""
        return self._end(Connection.cut)

    def reset(self) -> int:
        """Reset both ends of all open connections (RST); how many there were."""
        return self._end(Connection.reset)

    def lose_answers(
        self, exchange: Exchange, which: Callable[[int], bool] = lambda _: True, *, loss: Loss = Loss.CUT
    ) -> LostAnswers:
        """Pass requests of this kind on, and lose the answers to those that `which` chooses by their number, from 1.

        The answer is awaited, so the server has carried the request out. All that the server sends from the request to
        the answer is lost with it, and then the connection, in the way `loss` says. The result counts, and ends it.
        """
        answers = LostAnswers(exchange, which, loss)
        self._lost.append(answers)
        for connection in self._connections:
            connection.watch(AnswerWatch(answers))
        return answers

    def heal(self) -> None:
        """End delays, limits, partitions, refusals and losses of answers."""
        self._refuses = False
        for each in self._lost:
            each.end()
        self._lost.clear()
        for conditions in self._conditions.values():
            conditions.delay_seconds, conditions.bytes_per_second = 0.0, math.inf
            conditions.passes.set()

    def _end(self, how: Callable[[Connection], None]) -> int:
        connections = list(self._connections)
        self._connections.clear()
        for connection in connections:
            how(connection)
        return len(connections)

    def _chosen(self, direction: Direction | None) -> list[Conditions]:
        return [each for name, each in self._conditions.items() if direction in {None, name}]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        self.accepted += 1
        try:
            await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # the proxy's end; the task belongs to the server, which would log it
        finally:
            if task is not None:
                self._tasks.discard(task)
            with contextlib.suppress(RuntimeError):  # the loop may be closed already
                writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._conditions[Direction.TO_SERVER].passes.wait()
        if self._refuses:
            abort(writer)
            return
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                server = await asyncio.open_connection(*self._target)
        except (OSError, TimeoutError):
            abort(writer)
            return
        observer = self._observer() if self._observer is not None else None
        watches = [AnswerWatch(each) for each in self._lost]
        connection = Connection((reader, writer), server, self._conditions, watches, observer)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
