"""The options of a shop, checked before anything starts. Imports the standard library and Freehold's errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from freehold import ConfigurationError

__all__ = [
    "DEFAULT_STATE",
    "INSTANCES_MAX",
    "SERVICE_NAMES",
    "WITH_DATABASE",
    "WRONG_USAGE",
    "Checkout",
    "Engine",
    "Plan",
    "Profile",
    "parse_engines",
    "parse_instances",
]

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
WITH_DATABASE = tuple(name for name in SERVICE_NAMES if name != "gateway")
INSTANCES_MAX = 8
WRONG_USAGE = 2
"""The exit code of a supervisor whose options are wrong, or do not fit the data in its directory."""
_ALL = "all"


class Profile(StrEnum):
    """The infrastructure of a shop: SQLite files and the embedded broker, or database servers and NATS."""

    EMBEDDED = "embedded"
    SERVERS = "servers"


class Engine(StrEnum):
    """The database server of a service on the servers profile; without a choice it is PostgreSQL."""

    POSTGRESQL = "postgresql"
    MARIADB = "mariadb"


class Checkout(StrEnum):
    """The kind of an order's checkout: orchestrated by a saga, or choreographed by events."""

    SAGA = "saga"
    CHOREOGRAPHED = "choreographed"


@dataclass(frozen=True, slots=True)
class Plan:
    """A shop to run. `instances` has the services that run more than once, `engines` the chosen engines.

    A service without a chosen engine stays on the one that its data in this state directory are on.

    With `usual_ports` the services listen on the ports of `freehold_shop.settings.DEFAULT_PORTS`, where they are free;
    otherwise on their last ports in this state directory, or on any. The constructor raises `ConfigurationError`.
    """

    state_directory: Path
    profile: Profile = Profile.EMBEDDED
    checkout: Checkout = Checkout.SAGA
    single_process: bool = False
    usual_ports: bool = False
    instances: Mapping[str, int] = field(default_factory=dict)
    engines: Mapping[str, Engine] = field(default_factory=dict)

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
        self._check_engines()

    def _check_engines(self) -> None:
        for service, engine in self.engines.items():
            if service not in SERVICE_NAMES:
                raise ConfigurationError(f"there is no service '{service}'", hint=f"one of {', '.join(SERVICE_NAMES)}")
            if service not in WITH_DATABASE:
                raise ConfigurationError(
                    f"the {service} has no database", hint=f"leave out --engine {service}={engine}"
                )
        if self.engines and self.profile is Profile.EMBEDDED:
            raise ConfigurationError(
                "the embedded profile has SQLite files only", hint="give --profile servers, or leave out --engine"
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


def parse_engines(texts: Iterable[str]) -> dict[str, Engine]:
    """Parse texts of the form `orders=mariadb`; `all=mariadb` is for the services that are not named.

    Raises `ConfigurationError` for any other form, for an engine that does not exist, and for a service with two.
    """
    engines: dict[str, Engine] = {}
    names = [each.value for each in Engine]
    for text in texts:
        service, equals, name = text.partition("=")
        if not (service and equals):
            raise ConfigurationError(f"'{text}' is not SERVICE=ENGINE", hint="for example --engine orders=mariadb")
        if name not in names:
            raise ConfigurationError(f"there is no engine '{name}'", hint=f"one of {', '.join(names)}")
        if engines.setdefault(service, Engine(name)) != name:
            raise ConfigurationError(f"two engines are chosen for {service}", hint="choose one")
    rest = engines.pop(_ALL, None)
    return engines if rest is None else {**dict.fromkeys(WITH_DATABASE, rest), **engines}
