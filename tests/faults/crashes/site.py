"""Where the shop of these tests has its databases, its broker and its providers: on files, or on real servers.

A site outlives its runs: each adds its own orders. Its providers are a process that nothing kills. Imports the shop.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from freehold.settings import Settings
from freehold_shop.assembly import SERVICES
from freehold_shop.providers.book import Book
from freehold_shop.providers.ledger import Ledger
from freehold_shop.providers.server import create_app
from freehold_shop.servers import RunningServer

__all__ = ["LEFT_OUT", "Site", "on_files", "start_providers"]

LEFT_OUT = frozenset({"catalog"})
"""No checkout needs it; the others need it least of all."""
_LEASE_SECONDS = 6.0
"""Where the end of a process is proven, and its leases are taken over at once."""


@dataclass(frozen=True, slots=True)
class Site:
    """The places of one shop. `databases` by service."""

    directory: Path
    databases: Mapping[str, str]
    broker: str
    prefix: str
    providers_url: str
    providers_process: int
    lease_seconds: float
    servers: Sequence[RunningServer] = ()

    def settings(self) -> Mapping[str, Settings]:
        """The settings of its services."""
        return {
            name: Settings.load(
                name,
                environ={},
                database=url,
                broker=self.broker,
                broker_options={"prefix": self.prefix, "lease_seconds": self.lease_seconds, "partitions": 1},
                database_options={"partitions": 1, "lock_timeout_seconds": 30.0},
                lease_seconds=self.lease_seconds,
                handler_timeout_seconds=5.0,
                drain_seconds=5.0,
                token_secret="a secret of this test alone",
            )
            for name, url in self.databases.items()
        }

    def close(self) -> None:
        """End the providers and the servers, and remove the files."""
        for server in self.servers:
            server.kill()
        os.kill(self.providers_process, signal.SIGKILL)
        os.waitpid(self.providers_process, 0)
        shutil.rmtree(self.directory, ignore_errors=True)


def on_files(directory: Path) -> Site:
    """A site on SQLite and the embedded broker, without its tables."""
    databases = {
        name: f"sqlite:///{directory}/{name}.db?synchronous=normal" for name in SERVICES if name not in LEFT_OUT
    }
    url, process = start_providers(directory / "ledger")
    broker = f"embedded:///{directory}/broker.db?synchronous=normal"
    return Site(directory, databases, broker, "crashes", url, process, _LEASE_SECONDS)


def start_providers(ledger: Path) -> tuple[str, int]:
    """Fork the providers. Their socket listens before: who connects at once is answered a little later."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    parent = os.getpid()
    process = os.fork()
    if process == 0:
        _provide(listening, ledger, parent)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()
    return url, process


def _provide(listening: socket.socket, path: Path, parent: int) -> NoReturn:
    async def serve() -> None:
        ledger = Ledger(path)
        runner = web.AppRunner(create_app(Book(ledger, lambda: datetime.now(UTC)), ledger), access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        while os.getppid() == parent:  # noqa: ASYNC110 - nothing signals that the parent has ended
            await asyncio.sleep(1.0)

    log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    try:
        asyncio.run(serve())
    finally:
        os._exit(1)
