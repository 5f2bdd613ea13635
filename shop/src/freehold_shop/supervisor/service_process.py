"""The life of a service's process: its services and their HTTP, until SIGTERM; then what is held is finished.

Imports the runtime, uvicorn, and the shop's assembly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import uvicorn
from fastapi import FastAPI

from freehold import FreeholdError, Settings
from freehold.broker import Broker
from freehold.runtime import RunningService, open_broker, open_stores, raise_together
from freehold_shop.assembly import SERVICES, create_app, run_service
from freehold_shop.calls import close_calls
from freehold_shop.faults.duplicates import DuplicatingBroker, Switch
from freehold_shop.faults.limits import FileLimits
from freehold_shop.faults.slowness import Brake, braked
from freehold_shop.supervisor.wishes import Lines, Ready, Wishes, encode_line

__all__ = ["Seat", "serve"]

_log = logging.getLogger("freehold_shop.supervisor")
_HTTP_DRAIN_SECONDS = 5
_READY_POLL_SECONDS = 0.05
_FIRST_WISHES_SECONDS = 5.0
_RECEIVE_BYTES = 65_536
_FILE_SCHEMES = ("sqlite", "embedded")


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a service sits: its socket, which listens already, and its settings (none for one without a database)."""

    service: str
    listener: socket.socket
    settings: Settings | None


@dataclass(frozen=True, slots=True)
class _Levers:
    """What makes this process misbehave."""

    seats: Sequence[Seat]
    duplicates: Switch = field(default_factory=Switch)
    projections: Brake = field(default_factory=Brake)
    files: FileLimits = field(default_factory=FileLimits)

    def put(self, wishes: Wishes) -> None:
        """As it is wished."""
        self.duplicates.on = wishes.duplicates
        self.projections.on = wishes.projections_slow
        owners = {seat.service: seat.settings for seat in self.seats if seat.settings is not None}
        full = [owners[name].database for name in wishes.databases_full if name in owners]
        full += [each.broker for each in owners.values() if wishes.broker_full]
        read_only = [owners[name].database for name in wishes.databases_read_only if name in owners]
        self.files.put(full=_files(full), read_only=_files(read_only))


def _files(urls: Iterable[str]) -> frozenset[Path]:
    """The files of those that are files of SQLite."""
    parts = [urlsplit(url) for url in urls]
    return frozenset(Path(unquote(each.path[1:])) for each in parts if each.scheme in _FILE_SCHEMES)


async def serve(seats: Sequence[Seat], supervisor: socket.socket) -> None:
    """Run the services of these seats. Raises what stops them from starting."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    lines, levers = Lines(), _Levers(seats)
    levers.files.watch()
    wishes = await _first_wishes(supervisor, lines)
    levers.put(wishes)
    async with _running(seats, levers, wishes) as services:
        servers = [_Server(_config(seat, services)) for seat in seats]
        async with asyncio.TaskGroup() as tasks:
            for seat, server in zip(seats, servers, strict=True):
                tasks.create_task(server.serve(sockets=[seat.listener]))
            obeying = tasks.create_task(_obey(supervisor, lines, services, levers))
            await _until_ready(services, servers, stop)
            if not stop.is_set():
                await loop.sock_sendall(supervisor, encode_line(Ready()))
            await stop.wait()
            obeying.cancel()
            for server in servers:
                server.should_exit = True
    await close_calls()


@contextlib.asynccontextmanager
async def _running(
    seats: Sequence[Seat], levers: _Levers, wishes: Wishes
) -> AsyncIterator[Mapping[str, RunningService]]:
    """The services of the seats, on one broker connection."""
    settings = {seat.service: seat.settings for seat in seats if seat.settings is not None}
    async with contextlib.AsyncExitStack() as stack:
        services: dict[str, RunningService] = {}
        brokers: dict[str, Broker] = {}
        for name, chosen in settings.items():
            if chosen.broker not in brokers:
                broker = DuplicatingBroker(open_broker(chosen.broker, chosen.broker_options), levers.duplicates)
                stack.push_async_callback(broker.close)
                brokers[chosen.broker] = broker
            migrations = SERVICES[name].service.migrations
            stores = braked(open_stores(chosen.database, chosen.database_options, migrations), levers.projections)
            services[name] = run_service(name, chosen, brokers[chosen.broker], stores)
            if name in wishes.relays_stopped:
                services[name].roles = tuple(role for role in services[name].roles if role != "relay")
        for running in services.values():
            stack.push_async_callback(running.stop)
        outcomes = await asyncio.gather(*(running.start() for running in services.values()), return_exceptions=True)
        raise_together(outcomes)
        stack.push_async_callback(_stop_together, list(services.values()))
        yield services


async def _stop_together(services: Sequence[RunningService]) -> None:
    await asyncio.gather(*(running.stop() for running in services))


def _config(seat: Seat, services: Mapping[str, RunningService]) -> uvicorn.Config:
    app: FastAPI = create_app(seat.service, services.get(seat.service))
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        # Nobody stands before a service but the gateway, and no answer needs to tell what made it, and when.
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_HTTP_DRAIN_SECONDS,
    )


class _Server(uvicorn.Server):
    """A server that leaves signals to us; it would otherwise take them for itself alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _until_ready(
    services: Mapping[str, RunningService], servers: Sequence[uvicorn.Server], stop: asyncio.Event
) -> None:
    while not stop.is_set():
        if any(server.should_exit and not server.started for server in servers):
            raise RuntimeError("an application did not start")
        answers = [await running.readiness() for running in services.values()]
        if all(server.started for server in servers) and all(answer.ready for answer in answers):
            return
        await asyncio.sleep(_READY_POLL_SECONDS)


async def _first_wishes(supervisor: socket.socket, lines: Lines) -> Wishes:
    """What is wished of a process that starts: it misbehaves from the beginning, not a moment later."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_WISHES_SECONDS):
            while content := await loop.sock_recv(supervisor, _RECEIVE_BYTES):
                if heard := list(lines.feed(content)):
                    return msgspec.json.decode(heard[-1], type=Wishes)
    return Wishes()


async def _obey(
    supervisor: socket.socket, lines: Lines, services: Mapping[str, RunningService], levers: _Levers
) -> None:
    """Do what the supervisor wishes, for as long as it lives."""
    loop = asyncio.get_running_loop()
    while content := await loop.sock_recv(supervisor, _RECEIVE_BYTES):
        for line in lines.feed(content):
            wishes = msgspec.json.decode(line, type=Wishes)
            levers.put(wishes)
            for name, running in services.items():
                await _set_relay(running, stopped=name in wishes.relays_stopped)


async def _set_relay(running: RunningService, *, stopped: bool) -> None:
    try:
        await (running.pause("relay") if stopped else running.resume("relay"))
    except FreeholdError as error:
        text = "%s: the relay was not %s: %s; it stays as it is until the supervisor asks again"
        _log.warning(text, running.service.name, "stopped" if stopped else "started", error.message)
