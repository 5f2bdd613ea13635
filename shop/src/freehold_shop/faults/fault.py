"""What a fault is, and what it may do to a running shop. Imports the standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Ending", "Fault", "Site", "Trouble"]


class Trouble(StrEnum):
    """What can be wrong with a service's database."""

    DOWN = "down"
    FULL = "full"
    READ_ONLY = "read-only"
    LOCKED = "locked"


class Ending(Protocol):
    """The end of a fault that takes its time: the shop goes on meanwhile."""

    def poll(self) -> bool:
        """Whether it is over. Raises the `FreeholdError` that it failed with; nothing goes on then."""


class Site(Protocol):
    """A running shop as faults see it; the supervisor implements it. Every method is blocking and bounded in time."""

    def payments_rule(self, rule: str, *, on: bool) -> None:
        """Switch one of the payment provider's rules: `down`, `slow` or `decline`."""

    def crash(self, service: str) -> None:
        """SIGKILL every process of a service."""

    def stop_processes(self, service: str, *, on: bool) -> None:
        """SIGSTOP the processes that run a service now, or SIGCONT them."""

    def broker_outage(self, *, on: bool) -> None:
        """Begin or end an outage of the broker."""

    def empty_broker(self) -> None:
        """Have the broker lose all that it holds, while it is in use."""

    def send_again(self) -> Ending:
        """Have every service send once more what the broker had confirmed and lost."""

    def broker_limit(self, *, on: bool) -> None:
        """Let the broker take no message more, or lift that limit."""

    def database_trouble(self, service: str, trouble: Trouble, *, on: bool) -> None:
        """Begin or end a trouble of one service's database."""

    def stop_relays(self, service: str, *, on: bool) -> None:
        """Stop a service's relays, or start them again; also in processes that start meanwhile."""

    def duplicate_messages(self, *, on: bool) -> None:
        """Have every tenth message published twice, or no longer."""

    def slow_projections(self, *, on: bool) -> None:
        """Have the projections of orders and overview come late to each batch, or no longer."""

    def poison(self) -> None:
        """Publish messages that nobody can read."""

    def draw_poison_out(self) -> Ending:
        """Drop the dead letters that the poison has become, once every reader is past it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure. One without an `end` is over in a moment, such as a crash: there is nothing to heal.

    `begin` and `end` raise a `FreeholdError` where it cannot be done, and change nothing then. `end` can be repeated;
    where it takes longer than a moment it returns an `Ending`, and the fault is on until that is over.

    outlives_the_shop  what it did stays in databases and messages when the shop stops: the next one ends it.
    """

    name: str
    description: str
    begin: Callable[[Site], None]
    end: Callable[[Site], Ending | None] | None = None
    outlives_the_shop: bool = False

    @property
    def lasting(self) -> bool:
        """Whether it stays until it is healed."""
        return self.end is not None
