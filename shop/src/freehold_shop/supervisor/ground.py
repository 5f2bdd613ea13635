"""What a shop stands on: the databases and the broker of its profile, and how these can be made to fail.

Plain and blocking on purpose: the supervisor has no event loop, because it forks. Imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

__all__ = ["Ground"]


class Ground(Protocol):
    """Databases and broker of a running shop. `prepare` comes first, `stop` last; both once."""

    def prepare(self, services: Sequence[str]) -> None:
        """Start servers, make databases. Raises `Unavailable`, `ConfigurationError`, `ServerUnavailable`."""

    @property
    def databases(self) -> Mapping[str, str]:
        """Each service's database, as URL with the service's own credentials."""

    @property
    def broker(self) -> str:
        """The broker's URL."""

    def pids(self) -> Mapping[str, int]:
        """The servers' processes by name."""

    def revive(self) -> None:
        """Start servers again that died without a fault being on."""

    def begin_broker_outage(self) -> None:
        """Make the broker unusable for everybody."""

    def end_broker_outage(self) -> None:
        """Let the broker be used again. Idempotent."""

    def begin_database_outage(self, service: str) -> None:
        """Make one service's database unusable, and no other."""

    def end_database_outage(self, service: str) -> None:
        """Let the database be used again. Idempotent."""

    def stop(self) -> None:
        """Stop what `prepare` started. Idempotent."""
