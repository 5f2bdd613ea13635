"""The context of one running service: its name, stores, broker, clocks and settings, the declarations of its patterns,
and the objects that patterns offer each other. Port: imports the foundation, the ports and the settings; no pattern.
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
from freehold.metrics import Metrics
from freehold.ports import Stores
from freehold.settings import Settings

__all__ = ["Declares", "ServiceContext", "Signal"]

K = TypeVar("K")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, eq=False)
class Signal:
    """An event that wakes runners: in this process, and by a hint in others (`freehold.hints`). Without it a runner
    finds its work by polling.

    leased  the work is shared by leases: runners of other processes are woken even where this process has some.
    """

    name: str
    leased: bool = False


class Declares(Protocol[R_co]):
    """The part of a pattern that makes its registry: the declarations of one service."""

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

    `declared` returns the registry of a pattern, as `Service.of`. Commands that need only the database make a context
    without `broker` and `settings`. `at_work` says whether a role runs in this process; None where that is not known,
    and another process may run it. `make_broker` makes a broker for one question, in a context without a broker.
    `metrics` are those of this process; without them nothing is measured.
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
        metrics: Metrics | None = None,
    ) -> None:
        self.service: Final = service
        self.stores: Final = stores
        self.clock: Final[Clock] = clock or SystemClock()
        self.hlc: Final = hlc or HybridLogicalClock(self.clock)
        self.failures: Final = failures or FailureLog()
        self.metrics: Final = metrics or Metrics(enabled=False)
        self._broker = broker
        self._make_broker = make_broker
        self._settings = settings
        self._declared = declared
        self._registries: dict[str, object] = {}
        self._offered: dict[type[Any], object] = {}
        self._calls: dict[Signal, list[Callable[[], None]]] = {}
        self._tells: list[Callable[[Signal], None]] = []
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.at_work: Final = at_work

    @property
    def database(self) -> Database:
        """The service's database."""
        return self.stores.database

    @property
    def broker(self) -> Broker:
        """The service's broker. Raises `DeclarationError` where the context has none."""
        if self._broker is None:
            raise DeclarationError(f"this context of '{self.service}' has no broker")
        return self._broker

    @property
    def has_broker(self) -> bool:
        """Whether the context has a broker."""
        return self._broker is not None

    @asynccontextmanager
    async def asked_broker(self) -> AsyncIterator[Broker]:
        """An open broker for one question: the context's own, or a new one that is closed afterwards. Raises the errors
        of `Broker.open`, and `DeclarationError` where there is no broker.
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
        """The service's settings. Raises `DeclarationError` where the context has none."""
        if self._settings is None:
            raise DeclarationError(f"this context of '{self.service}' has no settings")
        return self._settings

    def of(self, pattern: Declares[K]) -> K:
        """The registry of a pattern: what the service declares of it, empty if it declares nothing."""
        if self._declared is not None:
            return cast("K", self._declared(pattern))
        found = self._registries.get(pattern.name)
        if found is None:
            found = self._registries[pattern.name] = pattern.declares(self.service)
        return cast("K", found)

    def offer(self, kind: type[K], made: K) -> None:
        """Offer an object to other patterns, by its class. Raises `DeclarationError` for a second one of a class."""
        if kind in self._offered:
            raise DeclarationError(f"'{self.service}' has a {kind.__name__} already")
        self._offered[kind] = made

    def resource(self, kind: type[K]) -> K:
        """The offered object of a class. Raises `DeclarationError` where none was offered."""
        found = self.find(kind)
        if found is None:
            raise DeclarationError(f"'{self.service}' has no {kind.__name__} here")
        return found

    def shared(self, kind: type[K]) -> K:
        """The object of a class, made at the first request: a registry that several patterns add to."""
        if kind not in self._offered:
            self._offered[kind] = kind()
        return cast("K", self._offered[kind])

    def find(self, kind: type[K]) -> K | None:
        """The offered object of a class; None where none was offered."""
        return cast("K | None", self._offered.get(kind))

    def on(self, signal: Signal, call: Callable[[], None]) -> None:
        """Subscribe to a signal. The calls are made in the order of subscription; they must not block or raise."""
        self._calls.setdefault(signal, []).append(call)

    def emit(self, signal: Signal) -> None:
        """Call all subscribers of a signal."""
        for call in self._calls.get(signal, ()):
            call()

    def tell(self, signal: Signal) -> None:
        """Emit a signal in the other processes of the service only."""
        for call in self._tells:
            call(signal)

    def on_tell(self, call: Callable[[Signal], None]) -> None:
        """Register what tells other processes of signals; it must not block or raise."""
        self._tells.append(call)

    def on_close(self, call: Callable[[], Awaitable[None]]) -> None:
        """Register a call for the stop of the service: awaited after its roles ended, before its database is closed."""
        self._closing.append(call)

    async def close(self) -> None:
        """Await the calls registered by `on_close`, in order."""
        for call in self._closing:
            await call()
