"""Waiting until positions are reached, with one look for all waits. Pattern: imports the foundation, its package.

While there are waits, one task reads the positions (a look), and ends each wait as soon as its targets are reached or
its time is up. A thousand waiting reads cost one look, and no connection is held between two looks. A look that hangs
delays no wait beyond its own limit: the wait then ends with what was known before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from freehold.clock import Clock
from freehold.errors import FreeholdError, Unavailable

__all__ = [
    "CurrentPosition",
    "Fresh",
    "Freshness",
    "PositionLag",
    "PositionSource",
    "PositionWatcher",
    "Stale",
    "Stalled",
    "TargetPositions",
]

TargetPositions = Mapping[str, int]
"""The positions to wait for, by name of a lane or a projection."""


@dataclass(frozen=True, slots=True)
class CurrentPosition:
    """How far a lane or a projection has come.

    stalled            why it does not continue by itself; None if no reason is known.
    appended_position  the position, in this service's own event store, of the last event that handling it appended.
    idle_seconds       the time since it came to this position; None if unknown.
    """

    position: int = 0
    stalled: str | None = None
    appended_position: int = 0
    idle_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PositionLag:
    """A lane or a projection that has not reached the position that was waited for.

    `seconds` is the time since it last advanced; None if it never did.
    """

    name: str
    awaited: int
    reached: int
    seconds: float | None = None

    @property
    def positions(self) -> int:
        """An upper bound of the messages or events missing: all lanes of a service share its positions."""
        return max(0, self.awaited - self.reached)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A read now shows everything that the token has seen, as far as this service follows it."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The limit was reached first. What is missing is still expected to come."""

    behind: tuple[PositionLag, ...]


@dataclass(frozen=True, slots=True)
class Stalled:
    """What is missing does not come by itself. `reasons` says why, by lane or projection."""

    behind: tuple[PositionLag, ...]
    reasons: Mapping[str, str]


Freshness = Fresh | Stale | Stalled
"""The outcome of a wait."""


class PositionSource(Protocol):
    """The source of current positions."""

    async def reached(self, names: Collection[str]) -> Mapping[str, CurrentPosition]:
        """Return how far each has come, in a few round trips; unknown names are left out. Raises `Unavailable`."""


class _Waiter:
    """One wait: its targets, what is still missing of them, its first look, and the future that ends it."""

    __slots__ = ("done", "looked", "missing", "targets")

    def __init__(self, targets: TargetPositions, known: Mapping[str, CurrentPosition]) -> None:
        self.targets = targets
        self.missing: Mapping[str, CurrentPosition] = {name: known.get(name, CurrentPosition()) for name in targets}
        self.looked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def see(self, found: Mapping[str, CurrentPosition]) -> None:
        """Note the positions that a look has found; ends the wait if all targets are reached."""
        seen = {name: found.get(name, CurrentPosition()) for name in self.targets}
        self.missing = {name: each for name, each in seen.items() if each.position < self.targets[name]}
        if not self.looked.done():
            self.looked.set_result(None)
        if not self.missing and not self.done.done():
            self.done.set_result(None)


class PositionWatcher:
    """Reads positions for all waits: at once when one begins, soon after `wake`, and otherwise less and less often."""

    def __init__(
        self,
        source: PositionSource,
        clock: Clock,
        *,
        pause_seconds: float = 0.01,
        pause_seconds_max: float = 0.1,
        look_seconds: float = 3.0,
    ) -> None:
        """A look that takes longer than `look_seconds` is given up; the next one uses another connection."""
        self.looks = 0
        self._source = source
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._pause_seconds_max = pause_seconds_max
        self._look_seconds = look_seconds
        self._waiters: dict[_Waiter, None] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._error: FreeholdError | None = None
        self._known: dict[str, CurrentPosition] = {}

    def wake(self) -> None:
        """Look now, because something has moved. To be called in the event loop's own thread."""
        if self._waiters:
            self._news.set()

    async def until(self, targets: TargetPositions, limit_seconds: float) -> Mapping[str, CurrentPosition]:
        """Wait until all targets are reached, and return nothing; at the limit, return those that are missing.

        It ends at the limit even if a look hangs, with the positions of the last look. A limit of 0 takes one look,
        which may last `look_seconds`. Raises `Unavailable` if no look of this wait succeeded. Cancellation ends this
        wait alone.
        """
        if not targets:
            return {}
        waiter = _Waiter(targets, self._known)
        self._waiters[waiter] = None
        self._news.set()
        if self._task is None or self._task.done():
            self._error = None
            self._task = asyncio.create_task(self._look_on(), name="consistency watcher")
        try:
            if limit_seconds > 0:
                await self._first({waiter.done}, limit_seconds)
            else:
                await self._first({waiter.done, waiter.looked}, self._look_seconds)
        finally:
            self._waiters.pop(waiter, None)
        if waiter.done.done():
            waiter.done.result()
            return {}
        if not waiter.looked.done() and self._error is not None:
            raise Unavailable("how far this service has come could not be read") from self._error
        return waiter.missing

    async def close(self) -> None:
        """End all waits with `Unavailable`. Idempotent."""
        for waiter in tuple(self._waiters):
            if not waiter.done.done():
                waiter.done.set_exception(Unavailable("the service is stopping"))
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _first(self, ends: Collection[asyncio.Future[Any]], seconds: float) -> None:
        """Wait until one of these futures is done, at most so long by the clock."""
        sleeper = asyncio.ensure_future(self._clock.sleep(max(0.0, seconds)))
        try:
            await asyncio.wait({*ends, sleeper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()

    async def _look_on(self) -> None:
        pause_seconds = self._pause_seconds
        while self._waiters:
            self._news.clear()
            waiting = tuple(self._waiters)
            try:
                found = await self._look({name for waiter in waiting for name in waiter.targets})
            except Exception as error:  # noqa: BLE001 - each wait ends with it, whatever it is
                for waiter in waiting:
                    if waiter in self._waiters and not waiter.done.done():
                        waiter.done.set_exception(error)
                    self._waiters.pop(waiter, None)
            else:
                self._apply(waiting if found is not None else (), found or {})
            if not self._waiters:
                return
            woken = await self._pause(pause_seconds)
            pause_seconds = self._pause_seconds if woken else min(2 * pause_seconds, self._pause_seconds_max)

    def _apply(self, waiting: Sequence[_Waiter], found: Mapping[str, CurrentPosition]) -> None:
        for waiter in waiting:
            waiter.see(found)
            if waiter.done.done():
                self._waiters.pop(waiter, None)

    async def _look(self, names: set[str]) -> Mapping[str, CurrentPosition] | None:
        """How far each has come; None if that could not be read."""
        self.looks += 1
        try:
            async with asyncio.timeout(self._look_seconds):
                found = await self._source.reached(names)
        except FreeholdError as error:
            self._error = error
            return None
        except TimeoutError:
            self._error = None
            return None
        self._error = None
        self._known.update(found)
        return found

    async def _pause(self, seconds: float) -> bool:
        """Idle until something moves or a wait begins, at most so long; returns whether one of these happened."""
        news = asyncio.ensure_future(self._news.wait())
        try:
            await self._first({news}, seconds)
            return self._news.is_set()
        finally:
            news.cancel()
