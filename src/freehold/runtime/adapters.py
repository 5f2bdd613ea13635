"""The protocols of adapter packages, and their look-up by URL scheme among entry points. Runtime: the composition root.

This is the only module that loads adapters. Each entry point in the group `freehold.adapters` names an object that
implements one or several of these protocols.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from freehold.broker import Broker, BrokerOptions, BrokerRights
from freehold.clock import Clock
from freehold.database import DatabaseOptions
from freehold.errors import ConfigurationError, MissingDriver
from freehold.fields import options_of
from freehold.migrations import Migration
from freehold.ports import Port, Provision, Stores

__all__ = [
    "AccountsAdapter",
    "BrokerAdapter",
    "DatabaseAdapter",
    "broker_accounts",
    "database_engines",
    "open_broker",
    "open_stores",
]

_GROUP = "freehold.adapters"
_EXTRAS = {"postgresql": "postgres", "nats": "nats"}
_ALIASES = {"postgres": "postgresql"}


@runtime_checkable
class DatabaseAdapter(Protocol):
    """An adapter of a database engine. `engine` is its name for operators, `database_schemes` are URL schemes up to the
    first `+`.
    """

    engine: str
    database_schemes: Sequence[str]

    def provisions(self) -> Sequence[Provision[Any]]:
        """The ports that the engine has, without a driver."""

    def stores(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> Stores:
        """Make the stores without connecting; `migrations` are the service's own. A `clock` replaces the database's own
        time (in tests). Raises `ConfigurationError`, `MissingDriver`.
        """


@runtime_checkable
class BrokerAdapter(Protocol):
    """An adapter of a broker."""

    broker_schemes: Sequence[str]

    def broker(self, url: str, options: BrokerOptions, clock: Clock | None = None) -> Broker:
        """Make the broker without connecting. Raises `ConfigurationError`, `MissingDriver`."""


@runtime_checkable
class AccountsAdapter(Protocol):
    """An adapter of a broker whose server has accounts with rights."""

    broker_schemes: Sequence[str]

    def accounts(self, rights: Sequence[BrokerRights], options: BrokerOptions, passwords: Mapping[str, str]) -> str:
        """Return the accounts in the format of the server's configuration. Raises `ConfigurationError`."""


def database_engines() -> Mapping[str, Sequence[Port[Any]]]:
    """The ports of each database engine whose adapter is installed, by the engine's name. Needs no driver."""
    found = {}
    for adapter in _adapters(""):
        if isinstance(adapter, DatabaseAdapter):
            found[adapter.engine] = [provision.port for provision in adapter.provisions()]
    return dict(sorted(found.items(), key=lambda each: each[0].lower()))


def open_stores(
    url: str,
    options: DatabaseOptions | Mapping[str, Any] | None = None,
    migrations: Sequence[Migration] = (),
    clock: Clock | None = None,
) -> Stores:
    """Make the stores for a database URL (`sqlite:///orders.db`, `postgresql://…`), not connected yet.

    Raises `ConfigurationError`, `MissingDriver`.
    """
    scheme = _scheme(url)
    options = options_of(DatabaseOptions, {} if options is None else options, "database_options")
    for adapter in _adapters(scheme):
        if isinstance(adapter, DatabaseAdapter) and scheme in adapter.database_schemes:
            return adapter.stores(url, options, migrations, clock)
    raise ConfigurationError(f"no adapter for a database of scheme '{scheme}'", hint="sqlite or postgresql")


def open_broker(
    url: str, options: BrokerOptions | Mapping[str, Any] | None = None, clock: Clock | None = None
) -> Broker:
    """Make the broker for a URL (`embedded:///broker.db`, `nats://…`, `memory://`), not connected yet.

    Raises `ConfigurationError`, `MissingDriver`.
    """
    scheme = _scheme(url)
    options = options_of(BrokerOptions, {} if options is None else options, "broker_options")
    for adapter in _adapters(scheme):
        if isinstance(adapter, BrokerAdapter) and scheme in adapter.broker_schemes:
            return adapter.broker(url, options, clock)
    raise ConfigurationError(f"no adapter for a broker of scheme '{scheme}'", hint="embedded, nats or memory")


def broker_accounts(
    scheme: str, rights: Sequence[BrokerRights], options: BrokerOptions, passwords: Mapping[str, str]
) -> str:
    """Return configuration for a broker's server by which each service has exactly these rights.

    Raises `ConfigurationError` if the broker has no accounts.
    """
    for adapter in _adapters(scheme):
        if isinstance(adapter, AccountsAdapter) and scheme in adapter.broker_schemes:
            return adapter.accounts(rights, options, passwords)
    raise ConfigurationError(f"a broker of scheme '{scheme}' has no accounts", hint="use nats")


def _scheme(url: object) -> str:
    if not isinstance(url, str):
        raise ConfigurationError(f"a URL must be str, and is {type(url).__name__}")
    try:
        scheme = urlsplit(url).scheme.partition("+")[0]
    except ValueError:
        raise ConfigurationError("a URL cannot be parsed", hint="check its brackets and colons") from None
    if not scheme:
        raise ConfigurationError("a URL has no scheme", hint="write sqlite:///file.db or postgresql://user@host/name")
    return _ALIASES.get(scheme, scheme)


def _adapters(scheme: str) -> Iterator[object]:
    """The adapters that can be loaded, the one named like the scheme first, so that usually no other is imported.

    Raises `MissingDriver` for that one. Another adapter whose driver is missing is skipped.
    """
    for entry in sorted(_installed(), key=lambda entry: (entry.name != scheme, entry.name)):
        try:
            yield entry.load()
        except ImportError as error:
            if entry.name == scheme:
                raise MissingDriver(error.name or entry.name, extra=_EXTRAS.get(entry.name, "all")) from error


@cache
def _installed() -> EntryPoints:
    """The adapters that are installed. Read once: it is a search through the metadata of every installed package."""
    return entry_points(group=_GROUP)
