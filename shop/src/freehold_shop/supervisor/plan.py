"""The options of a shop, checked before anything starts. Imports the standard library and Freehold's errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from freehold import ConfigurationError

__all__ = ["DEFAULT_STATE", "INSTANCES_MAX", "SERVICE_NAMES", "Checkout", "Plan", "Profile", "parse_instances"]

DEFAULT_STATE = Path(".freehold/shop")
SERVICE_NAMES = (
    "users",
    "reference",
    "catalog",
    "inventory",
    "orders",
    "payments",
    "shipping",
    "notifications",
    "overview",
    "gateway",
)
INSTANCES_MAX = 8


class Profile(StrEnum):
    """The infrastructure of a shop: SQLite files and the embedded broker, or PostgreSQL and NATS."""

    EMBEDDED = "embedded"
    SERVERS = "servers"


class Checkout(StrEnum):
    """The kind of an order's checkout: orchestrated by a saga, or choreographed by events."""

    SAGA = "saga"
    CHOREOGRAPHED = "choreographed"


@dataclass(frozen=True, slots=True)
class Plan:
    """A shop to run. `instances` has the services that run more than once.

    With `usual_ports` the services listen on the ports of `freehold_shop.settings.DEFAULT_PORTS`, where they are free;
    otherwise on their last ports in this state directory, or on any. The constructor raises `ConfigurationError`.
    """

    state_directory: Path
    profile: Profile = Profile.EMBEDDED
    checkout: Checkout = Checkout.SAGA
    single_process: bool = False
    usual_ports: bool = False
    instances: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the options."""
        for service, count in self.instances.items():
            if service not in SERVICE_NAMES:
                raise ConfigurationError(f"there is no service '{service}'", hint=f"one of {', '.join(SERVICE_NAMES)}")
            if not 1 <= count <= INSTANCES_MAX:
                raise ConfigurationError(
                    f"{count} instances of {service} are not possible", hint=f"between 1 and {INSTANCES_MAX}"
                )
        if self.single_process and any(count > 1 for count in self.instances.values()):
            raise ConfigurationError(
                "a single process runs each service once", hint="leave out --instances or --single-process"
            )


def parse_instances(texts: Iterable[str]) -> dict[str, int]:
    """Parse texts of the form `orders=2`; raises `ConfigurationError` for any other form."""
    instances: dict[str, int] = {}
    for text in texts:
        service, _, count = text.partition("=")
        if not (count.isascii() and count.isdigit()) or len(count) > 3:
            raise ConfigurationError(f"'{text}' is not SERVICE=N", hint="for example --instances orders=2")
        instances[service] = int(count)
    return instances
