"""What a shop stands on: the databases and the broker of its profile, and how these can be made to fail.

Plain and blocking on purpose: the supervisor has no event loop, because it forks. Imports the definition of a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from freehold_shop.faults.fault import Trouble

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
        """The broker's URL, with the credentials of whoever may do everything."""

    @property
    def brokers(self) -> Mapping[str, str]:
        """The broker's URL with a service's own credentials; a service that is missing uses `broker`."""

    def pids(self) -> Mapping[str, int]:
        """The servers' processes by name."""

    def revive(self) -> None:
        """Start servers again that died without a fault being on."""

    def begin_broker_outage(self) -> None:
        """Make the broker unusable for everybody."""

    def end_broker_outage(self) -> None:
        """Let the broker be used again. Idempotent."""

    def empty_broker(self) -> None:
        """Have the broker lose all that it holds, while it is in use; an outage or a limit stays."""

    def begin_broker_limit(self) -> None:
        """Let the broker take no message more, as far as that is not told to the processes that use it."""

    def end_broker_limit(self) -> None:
        """Lift that limit. Idempotent."""

    def begin_database_trouble(self, service: str, trouble: Trouble) -> None:
        """Begin a trouble of one service's database, as far as that is not told to the processes that use it."""

    def end_database_trouble(self, service: str, trouble: Trouble) -> None:
        """End it. Idempotent, and possible while others are on."""

    def stop(self) -> None:
        """Take back all that is wrong on purpose, and stop what `prepare` started. Idempotent."""
