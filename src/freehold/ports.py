"""Typed keys by which the stores of an engine are looked up. Port: imports the foundation and the database port.

A key is declared beside its protocol: `OUTBOX: Final[Port[OutboxStore]]` in `outbox/store.py`. An adapter lists the
ports that it has in its `ports.py`, as provisions; `stores[OUTBOX]` is an `OutboxStore` for the type checker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

from freehold.database import Database
from freehold.errors import ConfigurationError, DeclarationError

__all__ = ["MissingPort", "Port", "Provision", "Stores", "provide"]

T = TypeVar("T")
D = TypeVar("D", bound=Database)
D_contra = TypeVar("D_contra", contravariant=True)


class MissingPort(ConfigurationError):
    """The engine does not have a port that the service needs."""


@dataclass(frozen=True, eq=False)
class Port(Generic[T]):
    """The key of a port that an engine may have; `Stores` finds the store by it.

    name      in tables, documents and messages; an adapter's file has the same name on every engine.
    title     what the port stores, in words.
    protocol  the protocol that a store of this port implements: the key's type.
    suite     module and class of the tests that every store of this port must pass; empty if there are none.
    """

    name: str
    title: str
    protocol: type[Any]
    suite: str = ""

    def __str__(self) -> str:
        """Its name."""
        return self.name


@dataclass(frozen=True, eq=False)
class Provision(Generic[D_contra]):
    """A port that an adapter has, and the function that makes its store on the adapter's database; see `provide`."""

    port: Port[Any]
    make: Callable[[D_contra], object]


def provide(port: Port[T], make: Callable[[D], T]) -> Provision[D]:
    """Declare that an adapter has a port; the type checker compares the store with the port's protocol."""
    return Provision(port, make)


class Stores:
    """The ports that the engine of one database has. A store is made when it is first asked for."""

    def __init__(self, engine: str, database: D, provisions: Iterable[Provision[D]]) -> None:
        """`engine` is its name for people. Raises `DeclarationError` where a port is provided twice."""
        self.engine: Final = engine
        self.database: Final[Database] = database
        self._make: dict[Port[Any], Callable[[], object]] = {}
        self._made: dict[Port[Any], object] = {}
        names = set[str]()
        for provision in provisions:
            if provision.port.name in names:
                raise DeclarationError(f"{engine} provides the port '{provision.port}' twice")
            names.add(provision.port.name)
            self._make[provision.port] = _maker(provision, database)

    def __contains__(self, port: Port[Any]) -> bool:
        """Whether the engine has a port."""
        return port in self._make

    def __iter__(self) -> Iterator[Port[Any]]:
        """The ports that the engine has."""
        return iter(self._make)

    def __getitem__(self, port: Port[T]) -> T:
        """The store of a port. Raises `MissingPort` where the engine does not have it."""
        made = self._made.get(port)
        if made is None:
            make = self._make.get(port)
            if make is None:
                raise MissingPort(f"{self.engine} does not have the port '{port}' ({port.title})")
            made = self._made[port] = make()
        return cast("T", made)

    def get(self, port: Port[T]) -> T | None:
        """The store of a port; None where the engine does not have it."""
        return self[port] if port in self._make else None

    def extended(self, provisions: Iterable[Provision[Any]]) -> Stores:
        """The same stores, and more on the same database. Raises `DeclarationError` where a port is provided twice."""
        known = [Provision[Database](each, partial(_looked_up, self, each)) for each in self]
        return Stores(self.engine, self.database, [*known, *provisions])

    def replacing(self, port: Port[T], store: T) -> Stores:
        """The same stores with one replaced, for example by a wrapper of it."""
        others = [Provision[Database](each, partial(_looked_up, self, each)) for each in self if each is not port]
        return Stores(self.engine, self.database, [*others, Provision[Database](port, lambda _: store)])


def _looked_up(stores: Stores, port: Port[Any], _: Database) -> object:
    return stores[port]


def _maker(provision: Provision[D], database: D) -> Callable[[], object]:
    return lambda: provision.make(database)
