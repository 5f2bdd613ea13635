"""What a fault is, and what it may do to a running shop. Imports the standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["Ending", "Fault", "Site", "Trouble"]


class Trouble(StrEnum):
    """The troubles that a service's database can have; `frozen` only one on MariaDB."""

    DOWN = "down"
    FULL = "full"
    READ_ONLY = "read-only"
    LOCKED = "locked"
    FROZEN = "frozen"


class Ending(Protocol):
    """The end of a fault that takes longer: the shop continues meanwhile."""

    def poll(self) -> bool:
        """Whether the fault is over. Raises the `FreeholdError` that the end failed with, and stops trying then."""


class Site(Protocol):
    """What faults can do to a running shop; the supervisor implements it. Each method blocks, with a time limit."""

    def payments_rule(self, rule: str, *, on: bool) -> None:
        """Switch one of the payment provider's rules: `down`, `slow` or `decline`."""

    def crash(self, service: str) -> None:
        """SIGKILL every process of a service."""

    def stop_processes(self, service: str, *, on: bool) -> None:
        """SIGSTOP the processes that run a service now, or SIGCONT them."""

    def broker_outage(self, *, on: bool) -> None:
        """Begin or end an outage of the broker."""

    def empty_broker(self) -> None:
        """Make the broker lose all its messages while it is in use."""

    def send_again(self) -> Ending:
        """Make every service send again what the broker had confirmed and lost."""

    def broker_limit(self, *, on: bool) -> None:
        """Make the broker accept no more messages, or lift that limit."""

    def database_trouble(self, service: str, trouble: Trouble, *, on: bool) -> None:
        """Begin or end a trouble of one service's database."""

    def crash_database(self, service: str) -> None:
        """SIGKILL the server of a service's database; it is started again."""

    def end_sessions(self, service: str) -> None:
        """End all sessions of a service on the server of its database, in the middle of what they do."""

    def stop_relays(self, service: str, *, on: bool) -> None:
        """Stop a service's relays, or start them again; also in processes that start meanwhile."""

    def duplicate_messages(self, *, on: bool) -> None:
        """Publish every tenth message twice, or no longer."""

    def slow_projections(self, *, on: bool) -> None:
        """Delay each batch of the projections of orders and overview, or no longer."""

    def poison(self) -> None:
        """Publish messages that no service can read."""

    def discard_poison(self) -> Ending:
        """Discard the dead letters that the poison has become, once every reader is past it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault. One without an `end` happens once, such as a crash: there is nothing to heal.

    `begin` and `end` raise a `FreeholdError` where they fail, and then change nothing. `end` can be repeated; where it
    takes longer it returns an `Ending`, and the fault is on until that is over.

    outlives_the_shop  its effects stay in databases and messages when the shop stops: the next run ends it.
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
