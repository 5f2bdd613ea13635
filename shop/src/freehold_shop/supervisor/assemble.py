"""Puts a supervisor together: ground, ports, children, faults; runs it, and stops everything whatever happens.

Importing it loads all that the services need, before the fork. Imports the whole shop.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from urllib.parse import urlsplit

import uvloop

from freehold import FreeholdError, Settings, Unavailable
from freehold.schema import broker_rights
from freehold_shop.assembly import GATEWAY, SERVICES
from freehold_shop.faults.board import FaultBoard
from freehold_shop.faults.catalogue import catalogue
from freehold_shop.providers.__main__ import serve as serve_providers
from freehold_shop.settings import DEFAULT_PORTS, OUTBOX_SENT_RETENTION_SECONDS, ShopSettings, configure
from freehold_shop.supervisor.children import Child
from freehold_shop.supervisor.desk import Desk
from freehold_shop.supervisor.embedded import EmbeddedGround
from freehold_shop.supervisor.errors import ShopNotRunning
from freehold_shop.supervisor.ground import Ground
from freehold_shop.supervisor.kernel import listen, reserve, wait_for_port
from freehold_shop.supervisor.onservers import ServersGround
from freehold_shop.supervisor.plan import SERVICE_NAMES, Plan, Profile
from freehold_shop.supervisor.service_process import Seat, serve
from freehold_shop.supervisor.site import ShopSite
from freehold_shop.supervisor.state import (
    Secrets,
    ShopState,
    keep_token_secret,
    read_state,
    write_secrets,
    write_settings,
    write_state,
)
from freehold_shop.supervisor.watch import Watch, catch_signals
from freehold_shop.supervisor.wishes import Failed, Wishes, encode_line

__all__ = ["Ports", "run_shop"]

_log = logging.getLogger("freehold_shop.supervisor")
_PROVIDER_SECONDS = 15.0
# PostgreSQL permits 300 connections; some are left for verify, for people, and for the superuser.
_CONNECTIONS_MAX = 220
_POOL_MAX = 8


def run_shop(plan: Plan) -> None:
    """Run the shop until a signal asks to stop. Raises `Unavailable`, `ConfigurationError`; nothing is left running."""
    signals, asked = catch_signals()
    (plan.state_directory / "logs").mkdir(exist_ok=True)
    ports, left = Ports(plan), _faults_left(plan)
    ground = _ground(plan)
    with contextlib.ExitStack() as stack:
        stack.callback(ground.stop)
        ground.prepare([name for name in SERVICE_NAMES if name in SERVICES])
        token_secret = keep_token_secret(plan.state_directory)
        peers = {name: url for name, url in ports.urls.items() if name in SERVICES}
        secrets = Secrets(dict(ground.databases), ground.broker, token_secret, peers, dict(ground.brokers))
        write_secrets(plan.state_directory, secrets)
        write_settings(plan.state_directory, secrets)
        configure(ShopSettings(urls=ports.urls, checkout=plan.checkout.value))
        _load_adapters()
        gc.collect()
        gc.freeze()
        settings = _settings(plan, ground, token_secret, peers)
        provider = _provider(plan, ports)
        children = _children(plan, ports, settings)
        poisoned = [message for each in SERVICES.values() for message in each.service.handlers]
        site = ShopSite(
            provider_url=ports.urls["providers"],
            ground=ground,
            children=children,
            poisoned=poisoned,
            readers=_readers({message.topic for message in poisoned}),
            settings={name: replace(each, broker=ground.broker) for name, each in settings.items()},
            log=plan.state_directory / "logs" / "faults.log",
        )
        board = FaultBoard(site, catalogue(SERVICE_NAMES), time.monotonic)
        board.end_left(left)
        desk = Desk(plan.state_directory, board)
        started_at = time.time()

        def write(*, stopped: bool = False) -> None:
            _write(watch, plan, ports.urls, started_at=started_at, stopped=stopped)

        watch = Watch(children, provider, ground, site, board, desk, signals, asked, write)
        stack.callback(write, stopped=True)
        stack.callback(watch.stop)
        provider.start(Wishes())
        if not wait_for_port(ports.provider, provider.pid, _PROVIDER_SECONDS):
            raise Unavailable("the providers' double did not start", hint=f"see {provider.log}")
        watch.run()


def _faults_left(plan: Plan) -> Sequence[str]:
    """What was on when the last shop of this directory stopped, or was killed."""
    with contextlib.suppress(ShopNotRunning):
        return read_state(plan.state_directory).faults
    return ()


class Ports:
    """A listening socket for each service, and a port kept for the provider; the same as last time where possible."""

    def __init__(self, plan: Plan) -> None:
        before: Mapping[str, str] = {}
        with contextlib.suppress(ShopNotRunning):
            before = read_state(plan.state_directory).urls

        def wanted(name: str) -> tuple[int, ...]:
            usual = (DEFAULT_PORTS[name],) if plan.usual_ports else ()
            return usual + ((urlsplit(before[name]).port or 0,) if name in before else ())

        self.listeners = {name: listen(wanted(name)) for name in SERVICE_NAMES}
        # The provider's port is shared until the provider listens there. Who listens at the gateway's is alone, so
        # another shop that begins at the same moment does not take the same one for its own.
        alone = self.listeners[GATEWAY].getsockname()[1] in wanted(GATEWAY)
        self._kept = reserve(wanted("providers") if alone else ())
        self.provider: int = self._kept.getsockname()[1]
        ports = {name: listener.getsockname()[1] for name, listener in self.listeners.items()}
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in {**ports, "providers": self.provider}.items()}

    def close(self) -> None:
        """Give all of them back."""
        for each in (*self.listeners.values(), self._kept):
            each.close()


def _ground(plan: Plan) -> Ground:
    match plan.profile:
        case Profile.EMBEDDED:
            return EmbeddedGround(plan.state_directory)
        case Profile.SERVERS:
            services = [each.service for each in SERVICES.values()]
            options = Settings.load(services[0].name).broker_options
            return ServersGround(plan.state_directory, rights=broker_rights(services), options=options)


def _load_adapters() -> None:
    """Import every adapter that is installed, as opening a URL would; those whose driver is missing are left out."""
    for entry in entry_points(group="freehold.adapters"):
        with contextlib.suppress(ImportError, FreeholdError):
            entry.load()


def _settings(plan: Plan, ground: Ground, token_secret: str, peers: Mapping[str, str]) -> dict[str, Settings]:
    """Each service's settings, with a pool so small that all of them together find room on one server.

    All have one secret, with which they sign consistency tokens; what the environment says of it goes first.
    """
    processes = sum(plan.instances.get(name, 1) for name in SERVICES)
    pool_size = max(2, min(_POOL_MAX, _CONNECTIONS_MAX // processes))
    settings: dict[str, Settings] = {}
    for name in SERVICES:
        loaded = Settings.load(name, database=ground.databases[name], broker=ground.brokers.get(name, ground.broker))
        options = replace(loaded.database_options, pool_size=min(pool_size, loaded.database_options.pool_size))
        settings[name] = replace(
            loaded,
            database_options=options,
            token_secret=loaded.token_secret or token_secret,
            peers={**peers, **loaded.peers},
            outbox_sent_retention_seconds=loaded.outbox_sent_retention_seconds or OUTBOX_SENT_RETENTION_SECONDS,
        )
    return settings


def _children(plan: Plan, ports: Ports, settings: Mapping[str, Settings]) -> list[Child]:
    def child(name: str, instance: int, services: Sequence[str]) -> Child:
        seats = [Seat(each, ports.listeners[each], settings.get(each)) for each in services]
        log = plan.state_directory / "logs" / f"{name}-{instance}.log"
        return Child(name, instance, services, log, lambda supervisor: _serve(seats, supervisor))

    if plan.single_process:
        return [child("all", 0, SERVICE_NAMES)]
    return [child(name, number, [name]) for name in SERVICE_NAMES for number in range(plan.instances.get(name, 1))]


def _serve(seats: Sequence[Seat], supervisor: socket.socket) -> int:
    """Run services to their end. What keeps them from starting is one line in the log, and the supervisor hears it."""
    try:
        uvloop.run(serve(seats, supervisor))
    except FreeholdError as error:
        text = "%s: cannot start: %s; this process ends, and the supervisor starts it again"
        _log.error(text, ", ".join(seat.service for seat in seats), error)
        with contextlib.suppress(OSError):
            supervisor.send(encode_line(Failed(error.message)))
        return 3 if isinstance(error, Unavailable) else 2
    return 0


def _readers(topics: set[str]) -> dict[str, frozenset[str]]:
    """The services that read some of these topics, with them."""
    readers = {name: frozenset(topics & each.service.topics) for name, each in SERVICES.items()}
    return {name: read for name, read in readers.items() if read}


def _provider(plan: Plan, ports: Ports) -> Child:
    ledger = plan.state_directory / "ledger.ndjson"

    def work(_supervisor: socket.socket) -> int:
        uvloop.run(serve_providers("127.0.0.1", ports.provider, ledger))
        return 0

    return Child("providers", 0, ["providers"], plan.state_directory / "logs" / "providers.log", work)


def _write(watch: Watch, plan: Plan, urls: Mapping[str, str], *, started_at: float, stopped: bool) -> None:
    state = ShopState(
        pid=0 if stopped else os.getpid(),
        profile=plan.profile,
        checkout=plan.checkout,
        single_process=plan.single_process,
        ready=watch.ready and not stopped,
        urls=dict(urls),
        control=str(watch.desk.path),
        started_at=started_at,
        processes=[] if stopped else [child.described() for child in watch.children],
        provider_pid=0 if stopped else watch.provider.pid,
        servers={} if stopped else dict(watch.ground.pids()),
        faults=watch.board.outliving() if stopped else watch.board.on(),
    )
    write_state(plan.state_directory, state)
