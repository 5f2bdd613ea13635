"""The servers' ground: PostgreSQL with a database and a role for each service, and NATS.

What the settings `FREEHOLD_<SERVICE>_DATABASE` and `FREEHOLD_BROKER` name is used as it is; the rest is started under
the state directory. Imports the starters of servers and the accounts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freehold.errors import ConfigurationError
from freehold_shop.servers import RunningServer, start_nats, start_postgres
from freehold_shop.supervisor.accounts import allow_connections, forbid_connections, provision

__all__ = ["ServersGround"]


@dataclass(slots=True)
class ServersGround:
    """Servers of our own, or those that the settings name."""

    directory: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    broker: str = field(default="", repr=False)
    databases: Mapping[str, str] = field(default_factory=dict, repr=False)
    _postgres: RunningServer | None = None
    _nats: RunningServer | None = None
    _nats_wanted: bool = False
    _own: frozenset[str] = frozenset()

    def prepare(self, services: Sequence[str]) -> None:
        """Start what is needed, and make a role and a database for each service that names none."""
        given = {service: self._given(service) for service in services if self._given(service)}
        self._own = frozenset(services) - frozenset(given)
        made: Mapping[str, str] = {}
        if self._own:
            self._postgres = start_postgres(self.directory / "postgres")
            wanted = [service for service in services if service in self._own]
            made = provision(self._postgres.url, wanted, self.directory / "passwords.json")
        self.databases = {**given, **made}
        self.broker = self.environ.get("FREEHOLD_BROKER", "")
        if not self.broker:
            self._nats = start_nats(self.directory / "nats")
            self._nats_wanted = True
            self.broker = self._nats.url

    def pids(self) -> Mapping[str, int]:
        """PostgreSQL and NATS, where they are ours and run."""
        servers = {"postgres": self._postgres, "nats": self._nats}
        return {name: server.pid for name, server in servers.items() if server is not None and server.running}

    def revive(self) -> None:
        """Start a server of ours again that died without a fault being on."""
        if self._postgres is not None and not self._postgres.running:
            self._postgres.start()
        if self._nats is not None and self._nats_wanted and not self._nats.running:
            self._nats.start()

    def begin_broker_outage(self) -> None:
        """Kill NATS as a crash would."""
        self._nats_wanted = False
        self._own_nats().kill()

    def end_broker_outage(self) -> None:
        """Start NATS again, on its data."""
        self._nats_wanted = True
        self._own_nats().start()

    def begin_database_outage(self, service: str) -> None:
        """Let nobody connect to the service's database, and end its sessions."""
        forbid_connections(self._admin(service), service)

    def end_database_outage(self, service: str) -> None:
        """Let the service connect again."""
        allow_connections(self._admin(service), service)

    def stop(self) -> None:
        """Stop the servers that are ours."""
        self._nats_wanted = False
        for server in (self._nats, self._postgres):
            if server is not None:
                server.stop()

    def _given(self, service: str) -> str:
        return self.environ.get(f"FREEHOLD_{service.upper().replace('-', '_')}_DATABASE", "")

    def _own_nats(self) -> RunningServer:
        if self._nats is None:
            raise ConfigurationError(
                "the broker was not started by this shop", hint="leave FREEHOLD_BROKER out to let the shop start one"
            )
        return self._nats

    def _admin(self, service: str) -> str:
        if self._postgres is None or service not in self._own:
            raise ConfigurationError(
                f"the database of {service} was not made by this shop",
                hint=f"leave FREEHOLD_{service.upper()}_DATABASE out to let the shop make one",
            )
        return self._postgres.url
