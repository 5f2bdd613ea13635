"""Database and broker in memory, for tests. They pass the same conformance suites as the servers.

Databases of one name (`memory://name`) in one process share their data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.ports import PORTS
from freehold.broker import Broker, BrokerOptions
from freehold.clock import Clock, SystemClock
from freehold.database import DatabaseOptions
from freehold.migrations import Migration
from freehold.ports import Provision, Stores

__all__ = ["MemoryAdapter", "adapter"]


@dataclass(frozen=True, slots=True)
class MemoryAdapter:
    """Makes databases and brokers in memory."""

    engine: str = "memory"
    database_schemes: Sequence[str] = ("memory",)
    broker_schemes: Sequence[str] = ("memory",)

    def stores(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> Stores:
        """Make a database with all its stores. Raises `ConfigurationError`."""
        return Stores(self.engine, MemoryDatabase(url, options, migrations, clock), PORTS)

    def provisions(self) -> Sequence[Provision[Any]]:
        """The ports that the engine has."""
        return PORTS

    def broker(self, url: str, options: BrokerOptions, clock: Clock | None = None) -> Broker:
        """Make a broker. Raises `ConfigurationError`."""
        from freehold.adapters.memory.broker import MemoryBroker

        return MemoryBroker(options, clock or SystemClock())


adapter = MemoryAdapter()
