"""The port for the infrastructure of a profile: its databases and its broker, and their faults.

Blocking on purpose: the supervisor has no event loop, because it forks. Imports the definition of a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from freehold_shop.faults.fault import Trouble

__all__ = ["Infrastructure"]


class Infrastructure(Protocol):
    """The databases and the broker of a running shop. `prepare` is called first, `stop` last; both once."""

    def prepare(self, services: Sequence[str]) -> None:
        """Start servers, create databases. Raises `Unavailable`, `ConfigurationError`, `ServerUnavailable`."""

    @property
    def databases(self) -> Mapping[str, str]:
        """The URL of each service's database, with the service's own credentials."""

    @property
    def broker(self) -> str:
        """The broker's URL with the operator's credentials, which permit everything."""

    @property
    def brokers(self) -> Mapping[str, str]:
        """The broker's URL with each service's own credentials; a service that is missing uses `broker`."""

    def pids(self) -> Mapping[str, int]:
        """The servers' process ids by name."""

    def revive(self) -> None:
        """Restart servers that have ended without a fault."""

    def begin_broker_outage(self) -> None:
        """Make the broker unavailable."""

    def end_broker_outage(self) -> None:
        """Make the broker available again. Idempotent."""

    def empty_broker(self) -> None:
        """Make the broker lose all its messages while it is in use; an outage or a limit stays."""

    def begin_broker_limit(self) -> None:
        """Make the broker accept no more messages, except for the part that processes apply on request."""

    def end_broker_limit(self) -> None:
        """Lift that limit. Idempotent."""

    def begin_database_trouble(self, service: str, trouble: Trouble) -> None:
        """Begin a trouble of one service's database, except for the part that processes apply on request."""

    def end_database_trouble(self, service: str, trouble: Trouble) -> None:
        """End a trouble. Idempotent, and possible while others are on."""

    def crash_database(self, service: str) -> None:
        """Kill the server of a service's database; `revive` starts it again."""

    def end_sessions(self, service: str) -> None:
        """End all sessions of a service on the server of its database."""

    def stop(self) -> None:
        """End all faults, and stop what `prepare` started. Idempotent."""
