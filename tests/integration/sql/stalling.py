"""A proxy before a server that can stop passing on what comes, as a network does that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa

__all__ = ["Stalling", "stalling"]


class Stalling:
    """`url` leads through the proxy. Connections that are there when it stalls pass nothing on for ever; later ones do,
    once it has healed.
    """

    def __init__(self, target: sa.URL) -> None:
        self.url = ""
        self.connections = 0
        self._target = target
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def stall(self) -> None:
        """Pass nothing on from now on."""
        self._passing.clear()

    def heal(self) -> None:
        """Pass on what comes over connections that are made from now on."""
        self._passing = asyncio.Event()
        self._passing.set()

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Join a client with the server."""
        self.connections += 1
        passing = self._passing
        server, to_server = await asyncio.open_connection(self._target.host, self._target.port)
        both = ((client, to_server), (server, to_client))
        self._tasks |= {asyncio.create_task(_pass_on(passing, *ends)) for ends in both}

    async def close(self) -> None:
        """Cut all connections."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _pass_on(passing: asyncio.Event, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            await passing.wait()
            target.write(data)
    except OSError:
        pass
    finally:
        target.close()


@asynccontextmanager
async def stalling(url: str) -> AsyncIterator[Stalling]:
    """A proxy before the server of a URL."""
    target = sa.make_url(url)
    proxy = Stalling(target)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    through = target.set(host="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    proxy.url = through.render_as_string(hide_password=False) + "?sslmode=disable"
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.close()
