"""What a fault is, and what it may do to a running shop. Imports the standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Fault", "Site"]


class Site(Protocol):
    """A running shop as faults see it; the supervisor implements it. Every method is blocking and bounded in time."""

    def payments_rule(self, rule: str, *, on: bool) -> None:
        """Switch one of the payment provider's rules: `down`, `slow` or `decline`."""

    def crash(self, service: str) -> None:
        """SIGKILL every process of a service."""

    def broker_outage(self, *, on: bool) -> None:
        """Begin or end an outage of the broker."""

    def database_outage(self, service: str, *, on: bool) -> None:
        """Begin or end an outage of one service's database."""

    def stop_relays(self, service: str, *, on: bool) -> None:
        """Stop a service's relays, or start them again; also in processes that start meanwhile."""

    def duplicate_messages(self, *, on: bool) -> None:
        """Have every tenth message published twice, or no longer."""

    def slow_projections(self, *, on: bool) -> None:
        """Have the projections of orders and overview come late to each batch, or no longer."""

    def poison(self, *, on: bool) -> None:
        """Publish messages that nobody can read, or drop the dead letters that these have become."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure. One without an `end` is over in a moment, such as a crash: there is nothing to heal.

    `begin` and `end` raise a `FreeholdError` where it cannot be done, and change nothing then. `end` can be repeated.
    """

    name: str
    description: str
    begin: Callable[[Site], None]
    end: Callable[[Site], None] | None = None

    @property
    def lasting(self) -> bool:
        """Whether it stays until it is healed."""
        return self.end is not None
