"""The process of one or more services: runs them and their HTTP servers until SIGTERM, then drains and stops them.

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
from freehold.runtime import RunningService, Stores, open_broker, open_stores, raise_together
from freehold_shop.assembly import SERVICES, create_app, run_service
from freehold_shop.calls import close_calls
from freehold_shop.faults.duplicates import DuplicatingBroker, Switch
from freehold_shop.faults.limits import FileLimits
from freehold_shop.faults.slowness import Brake, braked
from freehold_shop.supervisor.requested_faults import Lines, Ready, RequestedFaults, encode_line

__all__ = ["Application", "ServiceSlot", "WokenServer", "serve", "server_config"]

_log = logging.getLogger("freehold_shop.supervisor")
_HTTP_DRAIN_SECONDS = 5
_READY_POLL_SECONDS = 0.05
_FIRST_REQUEST_SECONDS = 5.0
_RECEIVE_BYTES = 65_536
_FILE_SCHEMES = ("sqlite", "embedded")


@dataclass(frozen=True, slots=True)
class Application:
    """An application that was made before the fork, and the service that its routes know, which is not initialised yet
    (None for the gateway).
    """

    config: uvicorn.Config
    running: RunningService | None


@dataclass(frozen=True, slots=True)
class ServiceSlot:
    """A service of this process: its listening socket, and its settings (None for one without a database).

    Without a made application the process makes its own.
    """

    service: str
    listener: socket.socket
    settings: Settings | None
    made: Application | None = None


@dataclass(frozen=True, slots=True)
class _FaultControls:
    """The faults of this process."""

    slots: Sequence[ServiceSlot]
    duplicates: Switch = field(default_factory=Switch)
    projections: Brake = field(default_factory=Brake)
    files: FileLimits = field(default_factory=FileLimits)

    def put(self, requested: RequestedFaults) -> None:
        """Apply the requested faults, and end all others."""
        self.duplicates.on = requested.duplicates
        self.projections.on = requested.projections_slow
        owners = {slot.service: slot.settings for slot in self.slots if slot.settings is not None}
        full = [owners[name].database for name in requested.databases_full if name in owners]
        full += [each.broker for each in owners.values() if requested.broker_full]
        read_only = [owners[name].database for name in requested.databases_read_only if name in owners]
        self.files.put(full=_files(full), read_only=_files(read_only))


def _files(urls: Iterable[str]) -> frozenset[Path]:
    """The SQLite files among these URLs."""
    parts = [urlsplit(url) for url in urls]
    return frozenset(Path(unquote(each.path[1:])) for each in parts if each.scheme in _FILE_SCHEMES)


async def serve(slots: Sequence[ServiceSlot], supervisor: socket.socket) -> None:
    """Run the services of these slots. Raises an error of their start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    lines, controls = Lines(), _FaultControls(slots)
    controls.files.watch()
    requested = await _first_request(supervisor, lines)
    controls.put(requested)
    async with _running(slots, controls, requested) as services:
        servers = [WokenServer(_config(slot, services.get(slot.service))) for slot in slots]
        async with asyncio.TaskGroup() as tasks:
            for slot, server in zip(slots, servers, strict=True):
                tasks.create_task(server.serve(sockets=[slot.listener]))
            applying = tasks.create_task(_apply_requests(supervisor, lines, services, controls))
            await _until_ready(services, servers, stop)
            if not stop.is_set():
                await loop.sock_sendall(supervisor, encode_line(Ready()))
            await stop.wait()
            applying.cancel()
            for server in servers:
                server.end()
    await close_calls()


@contextlib.asynccontextmanager
async def _running(
    slots: Sequence[ServiceSlot], controls: _FaultControls, requested: RequestedFaults
) -> AsyncIterator[Mapping[str, RunningService]]:
    """The services of the slots, on one broker connection."""
    async with contextlib.AsyncExitStack() as stack:
        services: dict[str, RunningService] = {}
        brokers: dict[str, Broker] = {}
        for slot in slots:
            name, chosen = slot.service, slot.settings
            if chosen is None:
                continue
            if chosen.broker not in brokers:
                broker = DuplicatingBroker(open_broker(chosen.broker, chosen.broker_options), controls.duplicates)
                stack.push_async_callback(broker.close)
                brokers[chosen.broker] = broker
            migrations = SERVICES[name].service.migrations
            stores = braked(open_stores(chosen.database, chosen.database_options, migrations), controls.projections)
            services[name] = _make(slot, chosen, brokers[chosen.broker], stores)
            if name in requested.relays_stopped:
                services[name].roles = tuple(role for role in services[name].roles if role != "relay")
        for running in services.values():
            stack.push_async_callback(running.stop)
        outcomes = await asyncio.gather(*(running.start() for running in services.values()), return_exceptions=True)
        raise_together(outcomes)
        stack.push_async_callback(_stop_together, list(services.values()))
        yield services


def _config(slot: ServiceSlot, running: RunningService | None) -> uvicorn.Config:
    """The made application, if its service is the one that runs."""
    if slot.made is not None and slot.made.running is running:
        return slot.made.config
    return server_config(create_app(slot.service, running))


def _make(slot: ServiceSlot, settings: Settings, broker: Broker, stores: Stores) -> RunningService:
    """Make the service, in the place that its application knows, if that was made before."""
    made = slot.made.running if slot.made is not None else None
    if made is None:
        return run_service(slot.service, settings, broker, stores)
    made.__init__(SERVICES[slot.service].service, settings, broker=broker, stores=stores)  # type: ignore[misc] # its application knows this object
    return made


async def _stop_together(services: Sequence[RunningService]) -> None:
    await asyncio.gather(*(running.stop() for running in services))


def server_config(app: FastAPI) -> uvicorn.Config:
    """How an application is served."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        # The only proxy before a service is the gateway, and no client needs the server's name and date.
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_HTTP_DRAIN_SECONDS,
    )


class WokenServer(uvicorn.Server):
    """A server that handles no signals (the process handles them), and that `end` wakes.

    Uvicorn's own loop looks ten times a second whether it should exit, and makes the date header, which is off here.
    That was a quarter of what an idle service cost.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Let `serve` return, after the requests in progress."""
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        """Wait for the end."""
        await self.on_tick(0)  # sets the headers of each response
        await self._ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
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


async def _first_request(supervisor: socket.socket, lines: Lines) -> RequestedFaults:
    """The faults requested at the start, so that they apply before any service runs."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_REQUEST_SECONDS):
            while content := await loop.sock_recv(supervisor, _RECEIVE_BYTES):
                if received := list(lines.feed(content)):
                    return msgspec.json.decode(received[-1], type=RequestedFaults)
    return RequestedFaults()


async def _apply_requests(
    supervisor: socket.socket, lines: Lines, services: Mapping[str, RunningService], controls: _FaultControls
) -> None:
    """Apply what the supervisor requests, for as long as it runs."""
    loop = asyncio.get_running_loop()
    while content := await loop.sock_recv(supervisor, _RECEIVE_BYTES):
        for line in lines.feed(content):
            requested = msgspec.json.decode(line, type=RequestedFaults)
            controls.put(requested)
            for name, running in services.items():
                await _set_relay(running, stopped=name in requested.relays_stopped)


async def _set_relay(running: RunningService, *, stopped: bool) -> None:
    try:
        await (running.pause("relay") if stopped else running.resume("relay"))
    except FreeholdError as error:
        text = "%s: the relay was not %s: %s; it does not change until the supervisor's next request"
        _log.warning(text, running.service.name, "stopped" if stopped else "started", error.message)
