"""The servers of a soak: PostgreSQL, MariaDB and NATS, each service's way to them through a proxy of its own.

They are started here and not by the shop, so that they can be killed, emptied and filled without it. Imports the
starters of servers, the shop's accounts, and the proxy.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from freehold.testing import TcpProxy
from freehold_shop.servers import RunningServer, ServerUnavailable, start_mariadb, start_nats, start_postgres
from freehold_shop.servers.nats import empty_store
from freehold_shop.supervisor.accounts import provision
from freehold_shop.supervisor.mariadb_accounts import create_accounts, service_urls
from freehold_shop.supervisor.plan import WITH_DATABASE

__all__ = ["Servers", "running_servers"]

ON_MARIADB: Final = ("inventory", "notifications")
_END_SECONDS: Final = 30.0
T = TypeVar("T")


@dataclass(slots=True)
class Servers:
    """The running servers. Everything that blocks runs in one thread, which lives as long as they do.

    environment  the settings of a shop that uses them through the proxies.
    restarts     how often a server was started again.
    """

    postgres: RunningServer
    mariadb: RunningServer
    nats: RunningServer
    apart: ThreadPoolExecutor
    databases: dict[str, TcpProxy] = field(default_factory=dict)
    broker: TcpProxy = field(init=False)
    environment: dict[str, str] = field(default_factory=dict)
    restarts: int = 0

    def on_postgres(self) -> Mapping[str, TcpProxy]:
        """The proxies of services on PostgreSQL."""
        return {name: each for name, each in self.databases.items() if name not in ON_MARIADB}

    def on_mariadb(self) -> Mapping[str, TcpProxy]:
        """The proxies of services on MariaDB."""
        return {name: self.databases[name] for name in ON_MARIADB}

    async def end_immediately(self) -> None:
        """End PostgreSQL as `pg_ctl -m immediate` does: without a checkpoint, so that its start is a recovery."""
        await self._do(self._end_postgres)

    async def kill(self, server: RunningServer) -> None:
        """SIGKILL."""
        await self._do(server.kill)

    async def empty_broker(self) -> None:
        """Kill NATS and remove its store."""
        await self._do(self.nats.kill)
        await self._do(lambda: empty_store(self.nats.directory))

    async def start(self, server: RunningServer) -> None:
        """Start it again, if it does not run: it may also have ended by itself. Raises `ServerUnavailable`."""
        if not server.running:
            await self._do(server.start)
            self.restarts += 1

    async def restart(self, server: RunningServer) -> None:
        """End it, in whatever state it is, and start it again."""
        await self._do(server.stop)
        await self.start(server)

    def _end_postgres(self) -> None:
        try:
            os.kill(self.postgres.pid, signal.SIGQUIT)
        except (ProcessLookupError, ServerUnavailable):
            return
        self.postgres.stop()

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.apart, work)


@asynccontextmanager
async def running_servers(directory: Path) -> AsyncIterator[Servers]:
    """Start the servers, make the databases, and open the proxies. Raises `ServerUnavailable`."""
    with ThreadPoolExecutor(1, "servers") as apart:
        loop = asyncio.get_running_loop()
        started: list[RunningServer] = []

        async def start(starter: Callable[[Path], RunningServer], name: str) -> RunningServer:
            started.append(await loop.run_in_executor(apart, starter, directory / name))
            return started[-1]

        try:
            servers = Servers(
                await start(start_postgres, "postgres"),
                await start(start_mariadb, "mariadb"),
                await start(start_nats, "nats"),
                apart,
            )
            async with AsyncExitStack() as stack:
                await _open_proxies(servers, await _make_databases(servers, directory), stack)
                yield servers
        finally:
            for server in reversed(started):
                await loop.run_in_executor(apart, server.stop)


async def _make_databases(servers: Servers, directory: Path) -> Mapping[str, str]:
    others = [name for name in WITH_DATABASE if name not in ON_MARIADB]
    urls = provision(servers.postgres.url, others, directory / "passwords.json")
    on_mariadb = service_urls(servers.mariadb.url, ON_MARIADB, directory / "mariadb-passwords.json")
    await create_accounts(servers.mariadb.url, on_mariadb)
    return {**urls, **on_mariadb}


async def _open_proxies(servers: Servers, urls: Mapping[str, str], stack: AsyncExitStack) -> None:
    for service, url in urls.items():
        proxy = await stack.enter_async_context(TcpProxy.before(url))
        servers.databases[service] = proxy
        servers.environment[f"FREEHOLD_{service.upper().replace('-', '_')}_DATABASE"] = proxy.through(url)
    servers.broker = await stack.enter_async_context(TcpProxy.before(servers.nats.url))
    servers.environment["FREEHOLD_BROKER"] = servers.broker.through(servers.nats.url)
