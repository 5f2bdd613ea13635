"""The coordinator of a service's projections: starts and stops a runner for each generation, and polls for new events.

Pattern: imports the ports, the leases, the transaction and its package. One poll of the event store's high-water mark
serves all projections here. It comes after each commit of this process, and otherwise less and less often while nothing
happens. Each generation of the version that is declared here has a runner, with leases on its partitions; processes
with other versions of the code run the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from freehold.audit.store import AuditStore
from freehold.eventstore.store import EventStore
from freehold.failures import describe
from freehold.leases.keeper import LeaseManager
from freehold.leases.store import LeaseStore
from freehold.lifecycle import Runner
from freehold.projection.declaration import Projection, Sink
from freehold.projection.generation_runner import GenerationRunner
from freehold.projection.generations import begin_first, lease_prefix, live_generation
from freehold.projection.parked_stream import ParkedStreamRetrier
from freehold.projection.store import CheckpointStore, Generation, GenerationState
from freehold.transaction import Transactions

__all__ = ["ProjectionCoordinator", "ProjectionStores"]

T = TypeVar("T")
_log = logging.getLogger("freehold.projection")
_IDLE_SECONDS_MIN: Final = 0.02
_TOLD_SECONDS: Final = 0.1
"""The first pause after a commit that this process was told of. Of the next one it is told too; only the end of a
transaction that appended nothing, and kept others from being read, has to be found.
"""
_IDLE_GROWTH: Final = 1.5
_DRAIN_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class ProjectionStores:
    """The stores that projections need."""

    events: EventStore
    checkpoints: CheckpointStore
    leases: LeaseStore
    audit: AuditStore


@dataclass(frozen=True, slots=True)
class _Work:
    runner: GenerationRunner
    keeper: LeaseManager
    names: tuple[str, ...]


class ProjectionCoordinator(Runner):
    """Runs the projections of a service in this process; any number of processes share their partitions.

    Call `wake` after a commit that appended events, `refresh` after one that made or switched a generation.
    `on_progress` is called after each batch, `on_rebalance` where other processes must look at their shares of leases.
    """

    def __init__(
        self,
        projections: Sequence[Projection],
        transactions: Transactions,
        stores: ProjectionStores,
        *,
        owner: str,
        lease_seconds: float = 6.0,
        poll_seconds: float = 1.0,
        batch_timeout_seconds: float = 30.0,
        on_progress: Callable[[], None] = lambda: None,
        on_rebalance: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(f"projections {transactions.context.service}", clock=transactions.context.clock)
        self.left_to_others: Mapping[str, int] = {}
        """Projections whose live generation is of another version than is declared here, with that version."""
        self.problems: Mapping[str, str] = {}
        """Projections that could not be started at the last attempt, with the reason."""
        self._projections = {each.name: each for each in projections if not each.inline}
        self._transactions = transactions
        self._context = transactions.context
        self._stores = stores
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._batch_timeout_seconds = batch_timeout_seconds
        self._on_progress = on_progress
        self._on_rebalance = on_rebalance
        self._work: dict[tuple[str, int], _Work] = {}
        self._live: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        self._head = 0
        self._refreshed_at = float("-inf")
        self._failed: set[str] = set()
        self._told = False

    @property
    def children(self) -> Sequence[Runner]:
        """The runners of generations and the keepers of their leases."""
        return [runner for work in self._work.values() for runner in (work.keeper, work.runner)]

    @property
    def generations(self) -> Sequence[GenerationRunner]:
        """The runners of generations."""
        return [work.runner for work in self._work.values()]

    async def run(self) -> None:
        """Refresh generations and poll for events, until stopped."""
        idle_seconds = _IDLE_SECONDS_MIN
        try:
            while not self.stopping:
                if self.clock.monotonic() - self._refreshed_at >= self._poll_seconds or self._ended():
                    await self._refresh()
                told, self._told = self._told, False
                if await self._poll():
                    idle_seconds = _TOLD_SECONDS if told else _IDLE_SECONDS_MIN
                else:
                    idle_seconds *= _IDLE_GROWTH
                idle_seconds = min(idle_seconds, self._poll_seconds)
                self.healthy()
                await self.wait(idle_seconds)
        finally:
            await asyncio.gather(*(self._end(key) for key in list(self._work)))

    def wake(self) -> None:
        """Poll at once, because a commit appended events."""
        self._told = True
        super().wake()

    def refresh(self) -> None:
        """Read the generations at once, because one was made or became live, and the pauses of paused ones."""
        self._refreshed_at = float("-inf")
        self._wake_all()
        self.wake()

    def balance(self) -> None:
        """Look at the leases at once, because the shares of other processes have changed."""
        for work in self._work.values():
            work.keeper.wake()

    async def _poll(self) -> bool:
        """Read the high-water mark, and wake all runners if it has risen."""
        if not self._work:
            return False
        head = await self._stores.events.high_water_mark()
        if head == self._head:
            return False
        self._head = head
        self._wake_all()
        return True

    def _wake_all(self) -> None:
        for work in self._work.values():
            work.runner.wake()

    def _ended(self) -> bool:
        return any(work.runner.retired for work in self._work.values())

    async def _refresh(self) -> None:
        """Start runners of new generations, and stop those of generations that are not run here any more."""
        self._failed = set()
        generations = await self._stores.checkpoints.generations()
        live: dict[str, int] = {}
        other_versions: dict[str, int] = {}
        wanted: dict[tuple[str, int], Generation] = {}
        for name, projection in self._projections.items():
            for each in await self._with_first(projection, [each for each in generations if each.projection == name]):
                if each.state is GenerationState.LIVE:
                    live[name] = each.number
                    if each.version != projection.version:
                        other_versions[name] = each.version
                if each.state is not GenerationState.RETIRED and each.version == projection.version:
                    wanted[name, each.number] = each
        self._live = live
        for key in [key for key in self._work if key not in wanted]:
            await self._end(key, forget=True)
        for key, generation in wanted.items():
            if key not in self._work:
                await self._try(generation.projection, self._start(generation))
        await self._show([key for key in live.items() if key in wanted])
        if other_versions != self.left_to_others:
            names = ", ".join(other_versions) or "none"
            _log.info("%s: projections that are live in another version of the code: %s", self.name, names)
        self.left_to_others = other_versions
        self._forget_problems()
        self._refreshed_at = self.clock.monotonic()

    def _forget_problems(self) -> None:
        """Clear the problems of projections that could be started this time."""
        for name in self._projections.keys() - self._failed:
            self.no_trouble_at(f"projection '{name}'")
        self.problems = {name: why for name, why in self.problems.items() if name in self._failed}

    async def _with_first(self, projection: Projection, generations: Sequence[Generation]) -> Sequence[Generation]:
        """The generations of a projection; makes the first one if none is live."""
        if live_generation(generations) is not None:
            return generations
        made = await self._try(projection.name, begin_first(projection, self._context.stores))
        return generations if made is None else [*generations, made]

    async def _try(self, name: str, work: Awaitable[T]) -> T | None:
        """Await work for one projection; if it fails, the others continue, and it is retried at the next refresh."""
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - a sink may raise anything; it is logged, and retried
            self.trouble_at(f"projection '{name}'", error)
            self._failed.add(name)
            before, why = self.problems.get(name), describe(error)
            self.problems = {**self.problems, name: why}
            _log.log(
                logging.DEBUG if before == why else logging.WARNING,
                "%s: '%s' cannot start: %s; will retry every %g s",
                self.outages.titled(self.name),
                name,
                why,
                self._poll_seconds,
            )
            return None

    async def _start(self, generation: Generation) -> None:
        projection = self._projections[generation.projection]
        if projection.sink is not None:
            await projection.sink.prepare(generation.number)
        prefix = lease_prefix(generation.projection, generation.number)
        names = {f"{prefix}{partition}": partition for partition in range(generation.partitions)}
        runner = GenerationRunner(
            generation,
            projection,
            self._transactions,
            self._stores.events,
            self._stores.checkpoints,
            self._retrier(projection),
            held=lambda: [names[name] for name in keeper.tokens],
            head=lambda: self._head,
            live=lambda: self._live.get(projection.name),
            moved=lambda: self._moved(generation),
            poll_seconds=self._poll_seconds,
            batch_timeout_seconds=self._batch_timeout_seconds,
        )
        keeper = LeaseManager(
            self._stores.leases,
            prefix,
            tuple(names),
            self._owner,
            self._lease_seconds,
            self._context.clock,
            on_change=runner.wake,
            before_release=runner.finish_round,
            on_rebalance=self._on_rebalance,
        )
        self._work[generation.projection, generation.number] = _Work(runner, keeper, tuple(names))
        await keeper.start()
        await runner.start()

    async def _show(self, live: Sequence[tuple[str, int]]) -> None:
        """Let the readers of sinks see the live generation, if the process that switched could not do it."""
        for name, number in live:
            sink = self._projections[name].sink
            if sink is not None and self._shown.get(name) != number:
                await self._try(name, self._show_sink(name, number, sink))

    async def _show_sink(self, name: str, number: int, sink: Sink) -> None:
        await sink.show(number)
        self._shown[name] = number

    def _retrier(self, projection: Projection) -> ParkedStreamRetrier:
        stores = self._stores
        return ParkedStreamRetrier(
            projection,
            self._transactions,
            stores.events,
            stores.checkpoints,
            stores.audit,
            event_timeout_seconds=self._batch_timeout_seconds,
        )

    def _moved(self, generation: Generation) -> None:
        """Wake the projection's other generations, which wait for the live one, and report the progress."""
        for (name, number), work in self._work.items():
            if name == generation.projection and number != generation.number:
                work.runner.wake()
        self._on_progress()

    async def _end(self, key: tuple[str, int], *, forget: bool = False) -> None:
        work = self._work.pop(key)
        await work.runner.stop(_DRAIN_SECONDS)
        await work.keeper.stop(_DRAIN_SECONDS)
        if forget:
            await self._stores.leases.delete(work.names)
