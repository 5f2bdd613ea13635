"""Assembles a supervisor (infrastructure, ports, children, faults), runs it, and stops everything at the end.

What the services need is loaded before the first fork. Imports the whole shop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from freehold_shop.supervisor.control_server import ControlServer
from freehold_shop.supervisor.embedded import EmbeddedInfrastructure
from freehold_shop.supervisor.errors import ShopNotRunning
from freehold_shop.supervisor.infrastructure import Infrastructure
from freehold_shop.supervisor.kernel import listen, reserve, wait_for_port
from freehold_shop.supervisor.plan import SERVICE_NAMES, Plan, Profile
from freehold_shop.supervisor.preload import preload
from freehold_shop.supervisor.requested_faults import Failed, RequestedFaults, encode_line
from freehold_shop.supervisor.servers import ServersInfrastructure
from freehold_shop.supervisor.service_process import Application, ServiceSlot, serve
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

__all__ = ["Ports", "run_shop"]

_log = logging.getLogger("freehold_shop.supervisor")
_PROVIDER_SECONDS = 15.0
# PostgreSQL permits 300 connections; the rest is for verify, operators and the superuser.
_CONNECTIONS_MAX = 220
_POOL_MAX = 8
# Their handlers wait for the providers. The others only use the database, where transactions of one service side by
# side wait for each other's locks (inventory's turn, a customer's row) and are smaller: more commits for each order.
_WITH_WORKERS = frozenset({"payments", "notifications"})


def run_shop(plan: Plan) -> None:
    """Run the shop until a signal stops it. Raises `Unavailable`, `ConfigurationError`; leaves no process."""
    signals, asked = catch_signals()
    (plan.state_directory / "logs").mkdir(exist_ok=True)
    ports, left = Ports(plan), _faults_left(plan)
    infrastructure = _infrastructure(plan)
    with contextlib.ExitStack() as stack:
        stack.callback(infrastructure.stop)
        infrastructure.prepare([name for name in SERVICE_NAMES if name in SERVICES])
        token_secret = keep_token_secret(plan.state_directory)
        peers = {name: url for name, url in ports.urls.items() if name in SERVICES}
        secrets = Secrets(
            dict(infrastructure.databases), infrastructure.broker, token_secret, peers, dict(infrastructure.brokers)
        )
        write_secrets(plan.state_directory, secrets)
        write_settings(plan.state_directory, secrets)
        configure(ShopSettings(urls=ports.urls, checkout=plan.checkout.value))
        settings = _settings(plan, infrastructure, token_secret, peers)
        made = preload(settings)
        provider = _provider(plan, ports)
        children = _children(plan, ports, settings, made)
        poisoned = [message for each in SERVICES.values() for message in each.service.handlers]
        site = ShopSite(
            provider_url=ports.urls["providers"],
            infrastructure=infrastructure,
            children=children,
            poisoned=poisoned,
            readers=_readers({message.topic for message in poisoned}),
            settings={name: replace(each, broker=infrastructure.broker) for name, each in settings.items()},
            log=plan.state_directory / "logs" / "faults.log",
        )
        engine = urlsplit(infrastructure.databases["orders"]).scheme.partition("+")[0]
        board = FaultBoard(site, catalogue(SERVICE_NAMES, engine), time.monotonic)
        board.end_left(left)
        control_server = ControlServer(plan.state_directory, board)
        started_at = time.time()

        def write(*, stopped: bool = False) -> None:
            _write(watch, plan, ports.urls, started_at=started_at, stopped=stopped)

        watch = Watch(children, provider, infrastructure, site, board, control_server, signals, asked, write)
        stack.callback(write, stopped=True)
        stack.callback(watch.stop)
        provider.start(RequestedFaults())
        if not wait_for_port(ports.provider, provider.pid, _PROVIDER_SECONDS):
            raise Unavailable("the providers' double did not start", hint=f"see {provider.log}")
        watch.run()


def _faults_left(plan: Plan) -> Sequence[str]:
    """The faults that were on when the last shop of this directory stopped or was killed."""
    with contextlib.suppress(ShopNotRunning):
        return read_state(plan.state_directory).faults
    return ()


class Ports:
    """A listening socket for each service, and a reserved port for the provider; the same as last time if possible."""

    def __init__(self, plan: Plan) -> None:
        before: Mapping[str, str] = {}
        with contextlib.suppress(ShopNotRunning):
            before = read_state(plan.state_directory).urls

        def wanted(name: str) -> tuple[int, ...]:
            usual = (DEFAULT_PORTS[name],) if plan.usual_ports else ()
            return usual + ((urlsplit(before[name]).port or 0,) if name in before else ())

        self.listeners = {name: listen(wanted(name)) for name in SERVICE_NAMES}
        # The provider's port allows sharing until the provider listens on it. The gateway's port does not, so only a
        # shop that has its gateway's wanted port reserves the provider's: not another one that starts with it.
        alone = self.listeners[GATEWAY].getsockname()[1] in wanted(GATEWAY)
        self._kept = reserve(wanted("providers") if alone else ())
        self.provider: int = self._kept.getsockname()[1]
        ports = {name: listener.getsockname()[1] for name, listener in self.listeners.items()}
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in {**ports, "providers": self.provider}.items()}

    def close(self) -> None:
        """Close all sockets."""
        for each in (*self.listeners.values(), self._kept):
            each.close()


def _infrastructure(plan: Plan) -> Infrastructure:
    match plan.profile:
        case Profile.EMBEDDED:
            return EmbeddedInfrastructure(plan.state_directory)
        case Profile.SERVERS:
            services = [each.service for each in SERVICES.values()]
            options = Settings.load(services[0].name).broker_options
            return ServersInfrastructure(
                plan.state_directory, rights=broker_rights(services), options=options, engines=plan.engines
            )


def _settings(
    plan: Plan, infrastructure: Infrastructure, token_secret: str, peers: Mapping[str, str]
) -> dict[str, Settings]:
    """Each service's settings, with pools that all together fit the connections of one server.

    All sign consistency tokens with one secret: the environment's, or else `token_secret`.
    """
    processes = sum(plan.instances.get(name, 1) for name in SERVICES)
    pool_size = max(2, min(_POOL_MAX, _CONNECTIONS_MAX // processes))
    settings: dict[str, Settings] = {}
    for name in SERVICES:
        loaded = Settings.load(
            name,
            database=infrastructure.databases[name],
            broker=infrastructure.brokers.get(name, infrastructure.broker),
        )
        options = replace(loaded.database_options, pool_size=min(pool_size, loaded.database_options.pool_size))
        settings[name] = replace(
            loaded,
            database_options=options,
            workers=loaded.workers if name in _WITH_WORKERS else 1,
            token_secret=loaded.token_secret or token_secret,
            peers={**peers, **loaded.peers},
            outbox_sent_retention_seconds=loaded.outbox_sent_retention_seconds or OUTBOX_SENT_RETENTION_SECONDS,
        )
    return settings


def _children(
    plan: Plan, ports: Ports, settings: Mapping[str, Settings], made: Mapping[str, Application]
) -> list[Child]:
    def child(name: str, instance: int, services: Sequence[str]) -> Child:
        slots = [ServiceSlot(each, ports.listeners[each], settings.get(each), made.get(each)) for each in services]
        log = plan.state_directory / "logs" / f"{name}-{instance}.log"
        return Child(name, instance, services, log, lambda supervisor: _serve(slots, supervisor))

    if plan.single_process:
        return [child("all", 0, SERVICE_NAMES)]
    return [child(name, number, [name]) for name in SERVICE_NAMES for number in range(plan.instances.get(name, 1))]


def _serve(slots: Sequence[ServiceSlot], supervisor: socket.socket) -> int:
    """Run services to their end. Log an error at their start in one line, and send it to the supervisor."""
    try:
        uvloop.run(serve(slots, supervisor))
    except FreeholdError as error:
        text = "%s: cannot start: %s; this process ends, and the supervisor restarts it"
        _log.error(text, ", ".join(slot.service for slot in slots), error)
        with contextlib.suppress(OSError):
            supervisor.send(encode_line(Failed(error.message)))
        return 3 if isinstance(error, Unavailable) else 2
    return 0


def _readers(topics: set[str]) -> dict[str, frozenset[str]]:
    """The services that read some of these topics, with those topics."""
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
        control=str(watch.control_server.path),
        started_at=started_at,
        processes=[] if stopped else [child.described() for child in watch.children],
        provider_pid=0 if stopped else watch.provider.pid,
        servers={} if stopped else dict(watch.infrastructure.pids()),
        faults=watch.board.outliving() if stopped else watch.board.on(),
    )
    write_state(plan.state_directory, state)
