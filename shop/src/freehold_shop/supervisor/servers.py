"""The servers infrastructure: for each service a database and a user on PostgreSQL or MariaDB, and an account of NATS.

Databases and the broker that the settings `FREEHOLD_<SERVICE>_DATABASE` and `FREEHOLD_BROKER` name are used as they
are; the rest is started in the state directory. Imports the starters of servers, the accounts, and the troubles.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freehold import ConfigurationError, Unavailable
from freehold.broker import OPERATOR, STREAMS_OWNER, BrokerOptions, BrokerRights
from freehold.runtime import broker_accounts, keep_passwords
from freehold_shop.faults.fault import Trouble
from freehold_shop.servers import RunningServer, start_mariadb, start_nats, start_postgres
from freehold_shop.servers.nats import empty_store
from freehold_shop.supervisor.accounts import provision
from freehold_shop.supervisor.child_task import ChildTask, Work
from freehold_shop.supervisor.databases import DatabaseTroubles
from freehold_shop.supervisor.mariadb_accounts import create_accounts, service_urls
from freehold_shop.supervisor.mariadb_troubles import MariaDbTroubles
from freehold_shop.supervisor.plan import Engine
from freehold_shop.supervisor.state import chosen_engines, write_engines
from freehold_shop.supervisor.streamlimit import LIMIT_FILE, lift_limit, limit_stream
from freehold_shop.supervisor.streams import Streams

__all__ = ["ServersInfrastructure"]

_LIMIT_SECONDS = 15.0


@dataclass(slots=True)
class ServersInfrastructure:
    """Servers that the shop starts, or those that the settings name."""

    directory: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    rights: Sequence[BrokerRights] = ()
    options: BrokerOptions = field(default_factory=BrokerOptions)
    engines: Mapping[str, Engine] = field(default_factory=dict)
    broker: str = field(default="", repr=False)
    brokers: Mapping[str, str] = field(default_factory=dict, repr=False)
    databases: Mapping[str, str] = field(default_factory=dict, repr=False)
    _postgres: RunningServer | None = None
    _mariadb: RunningServer | None = None
    _nats: RunningServer | None = None
    _nats_wanted: bool = False
    _limited: bool = False
    _streams: Streams | None = None
    _chosen: Mapping[str, Engine] = field(default_factory=dict)
    _troubles: dict[Engine, DatabaseTroubles | MariaDbTroubles] = field(default_factory=dict)

    def prepare(self, services: Sequence[str]) -> None:
        """Start the servers, and make a user and a database for each service without a database in the settings.

        A server that no service needs is not started. Ends the faults that a killed shop has left.
        """
        given = {service: self._given(service) for service in services if self._given(service)}
        self._refuse_second_database(given)
        own = [service for service in services if service not in given]
        self._chosen = chosen_engines(self.directory, own, self.engines)
        self.databases = {**given, **self._on_postgres(), **self._on_mariadb()}
        write_engines(self.directory, self._chosen)
        self.broker = self.environ.get("FREEHOLD_BROKER", "")
        if not self.broker:
            self._start_nats()

    def _refuse_second_database(self, given: Mapping[str, str]) -> None:
        for service in sorted(given.keys() & self.engines.keys()):
            raise ConfigurationError(
                f"the settings name a database of {service} already",
                hint=f"unset {_setting(service)}, or leave out --engine {service}={self.engines[service]}",
            )

    def _on_postgres(self) -> Mapping[str, str]:
        """Start PostgreSQL if a service needs it, and return the URLs of the databases there."""
        services = self._services_on(Engine.POSTGRESQL)
        if not services:
            return {}
        self._postgres = start_postgres(self.directory / "postgres")
        self._troubles[Engine.POSTGRESQL] = DatabaseTroubles(self._postgres.url)
        urls = provision(self._postgres.url, services, self.directory / "passwords.json")
        self._clear_databases(Engine.POSTGRESQL)
        return urls

    def _on_mariadb(self) -> Mapping[str, str]:
        """Start MariaDB if a service needs it, and return the URLs of the databases there."""
        services = self._services_on(Engine.MARIADB)
        if not services:
            return {}
        self._mariadb = start_mariadb(self.directory / "mariadb")
        admin = self._mariadb.url
        urls = service_urls(admin, services, self.directory / "mariadb-passwords.json")
        self._do("making the databases of MariaDB", lambda: create_accounts(admin, urls))
        self._troubles[Engine.MARIADB] = MariaDbTroubles(admin, self.directory / "logs" / "faults.log")
        self._clear_databases(Engine.MARIADB)
        return urls

    def _services_on(self, engine: Engine) -> Sequence[str]:
        return [service for service, chosen in self._chosen.items() if chosen is engine]

    def _start_nats(self) -> None:
        """Start NATS with an account for each service, and make the streams, which services have no right to make."""
        services = [each.service for each in self.rights]
        passwords = keep_passwords(self.directory / "broker-passwords.json", [OPERATOR, *services])
        quoted = {name: json.dumps(password) for name, password in passwords.items()}
        accounts = broker_accounts("nats", self.rights, self.options, quoted)
        self._nats = start_nats(
            self.directory / "nats",
            accounts=accounts,
            owner=STREAMS_OWNER,
            credentials=f"{OPERATOR}:{passwords[OPERATOR]}",
        )
        self._nats_wanted = True
        self.broker = self._nats.url
        place = self.broker.rpartition("@")[2]
        self.brokers = {name: f"nats://{name}:{passwords[name]}@{place}" for name in services}
        self.end_broker_limit()
        self._streams = Streams(self.broker, self.options, services, self.directory / "logs" / "streams.log")
        self._streams.make()

    def pids(self) -> Mapping[str, int]:
        """The servers that the shop has started and that run."""
        servers = {"postgres": self._postgres, "mariadb": self._mariadb, "nats": self._nats}
        return {name: server.pid for name, server in servers.items() if server is not None and server.running}

    def revive(self) -> None:
        """Restart a server of the shop that has ended without a fault."""
        for server in (self._postgres, self._mariadb):
            if server is not None and not server.running:
                server.start()
        if self._nats is not None and self._nats_wanted and not self._nats.running:
            self._nats.start()
        if self._streams is not None:
            self._streams.revive()

    def begin_broker_outage(self) -> None:
        """Kill NATS, as in a crash."""
        self._own_nats().kill()
        self._nats_wanted = False

    def end_broker_outage(self) -> None:
        """Restart NATS on its data."""
        self._nats_wanted = True
        self._own_nats().start()
        if not self._limited:
            self.end_broker_limit()

    def empty_broker(self) -> None:
        """Kill NATS, remove its store, and start it where no outage is on."""
        nats = self._own_nats()
        nats.kill()
        empty_store(nats.directory)
        if self._nats_wanted:
            nats.start()

    def begin_broker_limit(self) -> None:
        """Limit the stream of messages to its size."""
        url = self._own_nats().url
        if not self._nats_wanted:
            raise Unavailable("the broker is down", hint="first: shop heal broker-down")
        self._do("limiting the stream", lambda: limit_stream(url, self.options.prefix, self.directory))
        self._limited = True

    def end_broker_limit(self) -> None:
        """Lift the limit; while NATS is down, at its next start."""
        self._limited = False
        url = self._own_nats().url
        if self._nats_wanted and (self.directory / LIMIT_FILE).exists():
            self._do("lifting the stream's limit", lambda: lift_limit(url, self.options.prefix, self.directory))

    def begin_database_trouble(self, service: str, trouble: Trouble) -> None:
        """Begin the trouble on the server."""
        if trouble is Trouble.FROZEN:
            self._server_of(service).pause()
        else:
            self._troubles_of(service).begin(service, trouble)

    def end_database_trouble(self, service: str, trouble: Trouble) -> None:
        """End the trouble on the server."""
        if trouble is Trouble.FROZEN:
            self._server_of(service).resume()
        else:
            self._troubles_of(service).end(service, trouble)

    def crash_database(self, service: str) -> None:
        """Kill the server."""
        self._server_of(service).kill()

    def end_sessions(self, service: str) -> None:
        """End the sessions of the service's user."""
        self._troubles_of(service).end_sessions(service)

    def stop(self) -> None:
        """End all faults, and stop the servers that the shop has started."""
        if self._nats is not None and self._nats.running:
            with contextlib.suppress(Unavailable):
                self.end_broker_limit()
        self._nats_wanted = False
        if self._streams is not None:
            self._streams.stop()
        for engine, database in self._database_servers():
            if database.running:
                database.resume()
                with contextlib.suppress(Unavailable):
                    self._clear_databases(engine)
        for server in (self._nats, self._mariadb, self._postgres):
            if server is not None:
                server.stop()

    def _clear_databases(self, engine: Engine) -> None:
        for service in sorted(self._services_on(engine)):
            self._troubles_of(service).clear(service)

    def _database_servers(self) -> Iterator[tuple[Engine, RunningServer]]:
        for engine, server in ((Engine.POSTGRESQL, self._postgres), (Engine.MARIADB, self._mariadb)):
            if server is not None:
                yield engine, server

    def _given(self, service: str) -> str:
        return self.environ.get(_setting(service), "")

    def _do(self, what: str, work: Work) -> None:
        ChildTask(what, work, self.directory / "logs" / "faults.log", _LIMIT_SECONDS).wait()

    def _own_nats(self) -> RunningServer:
        if self._nats is None:
            raise ConfigurationError(
                "this shop has not started the broker", hint="unset FREEHOLD_BROKER to let the shop start one"
            )
        return self._nats

    def _troubles_of(self, service: str) -> DatabaseTroubles | MariaDbTroubles:
        return self._troubles[self._engine_of(service)]

    def _server_of(self, service: str) -> RunningServer:
        engine = self._engine_of(service)
        server = dict(self._database_servers())[engine]
        if not server.running:
            raise Unavailable(f"the server of the database of {service} is being started", hint="try again")
        return server

    def _engine_of(self, service: str) -> Engine:
        if service not in self._chosen:
            raise ConfigurationError(
                f"this shop has not made the database of {service}",
                hint=f"unset {_setting(service)} to let the shop make one",
            )
        return self._chosen[service]


def _setting(service: str) -> str:
    return f"FREEHOLD_{service.upper().replace('-', '_')}_DATABASE"
