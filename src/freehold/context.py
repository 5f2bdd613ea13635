"""What one running service has: its name, stores, broker, clocks and settings, the declarations of its patterns, and
what they offer each other. Port: imports the foundation, the ports and the settings; knows no pattern.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast

from freehold.broker import Broker
from freehold.clock import Clock, HybridLogicalClock, SystemClock
from freehold.database import Database
from freehold.errors import DeclarationError
from freehold.failures import FailureLog
from freehold.ports import Stores
from freehold.settings import Settings

__all__ = ["Declares", "ServiceContext", "Signal"]

K = TypeVar("K")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, eq=False)
class Signal:
    """Something that happened in this process, and that runners are woken by. A hint: one that is lost costs a poll."""

    name: str


class Declares(Protocol[R_co]):
    """A pattern, as far as its registry is concerned: what a service declares of it."""

    @property
    def name(self) -> str:
        """Its name, unique in a service."""
        ...

    @property
    def declares(self) -> Callable[[str], R_co]:
        """Makes the registry of one service, by the service's name."""
        ...


class ServiceContext:
    """What a service works with. One for each running service, for one event loop.

    `declared` gives the registry of a pattern: that of the `Service`. `broker` and `settings` are missing where only
    the database is worked on, as commands do. `at_work` says of a role whether it runs here; None where another process
    may run it. `make_broker` makes a broker for a context without one, to ask it something.
    """

    def __init__(
        self,
        service: str,
        stores: Stores,
        *,
        clock: Clock | None = None,
        hlc: HybridLogicalClock | None = None,
        failures: FailureLog | None = None,
        broker: Broker | None = None,
        settings: Settings | None = None,
        declared: Callable[[Declares[Any]], Any] | None = None,
        at_work: Callable[[str], bool | None] = lambda _role: None,
        make_broker: Callable[[], Broker] | None = None,
    ) -> None:
        self.service: Final = service
        self.stores: Final = stores
        self.clock: Final[Clock] = clock or SystemClock()
        self.hlc: Final = hlc or HybridLogicalClock(self.clock)
        self.failures: Final = failures or FailureLog()
        self._broker = broker
        self._make_broker = make_broker
        self._settings = settings
        self._declared = declared
        self._registries: dict[str, object] = {}
        self._offered: dict[type[Any], object] = {}
        self._calls: dict[Signal, list[Callable[[], None]]] = {}
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.at_work: Final = at_work

    @property
    def database(self) -> Database:
        """The service's database."""
        return self.stores.database

    @property
    def broker(self) -> Broker:
        """The service's broker. Raises `DeclarationError` where it runs without one."""
        if self._broker is None:
            raise DeclarationError(f"'{self.service}' is opened here without its broker")
        return self._broker

    @property
    def has_broker(self) -> bool:
        """Whether it runs with its broker."""
        return self._broker is not None

    @asynccontextmanager
    async def asked_broker(self) -> AsyncIterator[Broker]:
        """An open broker for one question: the service's own, or one that is closed afterwards. Raises what opening it
        does, and `DeclarationError` where there is none.
        """
        if self._broker is not None or self._make_broker is None:
            yield self.broker
            return
        broker = self._make_broker()
        try:
            await broker.open()
            yield broker
        finally:
            await broker.close()

    @property
    def settings(self) -> Settings:
        """The service's settings. Raises `DeclarationError` where it was opened without."""
        if self._settings is None:
            raise DeclarationError(f"'{self.service}' is opened here without its settings")
        return self._settings

    def of(self, pattern: Declares[K]) -> K:
        """What the service declares of a pattern: its registry, an empty one where it declares nothing."""
        if self._declared is not None:
            return cast("K", self._declared(pattern))
        found = self._registries.get(pattern.name)
        if found is None:
            found = self._registries[pattern.name] = pattern.declares(self.service)
        return cast("K", found)

    def offer(self, kind: type[K], made: K) -> None:
        """Give others a thing of a class: one of a kind. Raises `DeclarationError` where there is one."""
        if kind in self._offered:
            raise DeclarationError(f"'{self.service}' has a {kind.__name__} already")
        self._offered[kind] = made

    def resource(self, kind: type[K]) -> K:
        """The thing of a class that somebody offers. Raises `DeclarationError` where nobody does."""
        found = self.find(kind)
        if found is None:
            raise DeclarationError(f"'{self.service}' has no {kind.__name__} here")
        return found

    def shared(self, kind: type[K]) -> K:
        """The thing of a class that is made when somebody first asks for it: what patterns register with."""
        if kind not in self._offered:
            self._offered[kind] = kind()
        return cast("K", self._offered[kind])

    def find(self, kind: type[K]) -> K | None:
        """The thing of a class that somebody offers; None where nobody does."""
        return cast("K | None", self._offered.get(kind))

    def on(self, signal: Signal, call: Callable[[], None]) -> None:
        """Have something called at each signal, in the order of subscription; it must not wait, nor raise."""
        self._calls.setdefault(signal, []).append(call)

    def emit(self, signal: Signal) -> None:
        """Call whoever subscribed to a signal."""
        for call in self._calls.get(signal, ()):
            call()

    def on_close(self, call: Callable[[], Awaitable[None]]) -> None:
        """Have something awaited when the service stops, after its roles and before its database is closed."""
        self._closing.append(call)

    async def close(self) -> None:
        """Await what is to be done at the end."""
        for call in self._closing:
            await call()
