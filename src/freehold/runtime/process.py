"""Several services in one process, on one broker connection, and the main function that runs them. Runtime."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from freehold.broker import Broker, BrokerOptions
from freehold.clock import Clock
from freehold.errors import FreeholdError, joined
from freehold.ports import Stores
from freehold.runtime.adapters import open_broker
from freehold.runtime.running_service import RunningService
from freehold.runtime.startup_log import log_settings
from freehold.service import Service
from freehold.settings import Settings

__all__ = ["Runtime", "raise_together", "run"]


class Runtime:
    """`async with Runtime(orders, payments) as runtime:` runs several services; `runtime["orders"]` is one of them.

    Services whose settings name the same broker share one connection. If one fails to start, all are stopped. A broker
    that cannot be reached is no failure: see `RunningService`.
    """

    def __init__(
        self,
        *services: Service,
        settings: Mapping[str, Settings] | None = None,
        stores: Mapping[str, Stores] | None = None,
        roles: Collection[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._brokers: dict[tuple[str, BrokerOptions], Broker] = {}
        self._clock = clock
        self.services: dict[str, RunningService] = {}
        self._stack = AsyncExitStack()
        for service in services:
            wanted = (settings or {}).get(service.name) or Settings.load(service.name)
            broker = self._broker(wanted)
            self.services[service.name] = RunningService(
                service, wanted, broker=broker, stores=(stores or {}).get(service.name), roles=roles, clock=clock
            )

    def __getitem__(self, name: str) -> RunningService:
        """The running service of that name."""
        return self.services[name]

    def __iter__(self) -> Iterator[RunningService]:
        """The running services, in the order given."""
        return iter(self.services.values())

    async def __aenter__(self) -> Self:
        """Start all of them, together."""
        log_settings([running.settings for running in self])
        for running in self:
            running.settings_logged = True
        async with AsyncExitStack() as stack:
            for broker in self._brokers.values():
                stack.push_async_callback(broker.close)
            for running in self:
                stack.push_async_callback(running.stop)
            outcomes = await asyncio.gather(*(running.start() for running in self), return_exceptions=True)
            raise_together(outcomes)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all of them, together, then close the brokers."""
        await asyncio.gather(*(running.stop() for running in self))
        await self._stack.aclose()

    def _broker(self, settings: Settings) -> Broker:
        place = (settings.broker, settings.broker_options)
        if place not in self._brokers:
            self._brokers[place] = open_broker(settings.broker, settings.broker_options, self._clock)
        return self._brokers[place]


def raise_together(outcomes: Iterable[BaseException | None]) -> None:
    """Raise the errors of several services as one, which names each. A bug, or a cancellation, is raised alone."""
    failed = [outcome for outcome in outcomes if outcome is not None]
    for error in failed:
        if not isinstance(error, FreeholdError):
            raise error
    if failed:
        raise joined([error for error in failed if isinstance(error, FreeholdError)])


async def run(
    *services: Service,
    settings: Mapping[str, Settings] | None = None,
    roles: Collection[str] | None = None,
    until: asyncio.Event | None = None,
    on_ready: Callable[[Runtime], None] = lambda _: None,
) -> None:
    """Run services until SIGTERM, SIGINT or `until`; then drain. `on_ready` is called once all have started."""
    end = until or asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as handlers:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end.set)
            handlers.callback(loop.remove_signal_handler, number)
        async with Runtime(*services, settings=settings, roles=roles) as runtime:
            handlers.enter_context(_frozen_garbage_collector())
            on_ready(runtime)
            await end.wait()


@contextlib.contextmanager
def _frozen_garbage_collector() -> Iterator[None]:
    """Exclude imported modules and started objects from garbage collection.

    They live until the end, and to traverse them takes a quarter of the time in which events are read.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
