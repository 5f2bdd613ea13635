"""Waiting until positions are reached, one look for all who wait. Pattern: imports the foundation and its own package.

Whoever waits joins the watch: while there are any, one task looks how far things have come, and answers each as soon as
its goal is reached or its time is up. A thousand waiting reads are one look, and hold no connection between two. A look
that hangs holds nobody longer than their own limit: they are told what was known before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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
"""What is waited for: positions by name."""


@dataclass(frozen=True, slots=True)
class CurrentPosition:
    """How far something has come. `stalled` says why it does not go on by itself, where that is known.

    appended_position  the position in this service's own event store that handling it has reached.
    idle_seconds   how long ago it came to where it is; None where nobody knows.
    """

    position: int = 0
    stalled: str | None = None
    appended_position: int = 0
    idle_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PositionLag:
    """What was waited for and is not there: a lane, or a projection. `positions` is an upper bound of the events
    missing, for positions are shared by all lanes of a service; `seconds` since when nothing has come, None: never.
    """

    name: str
    awaited: int
    reached: int
    seconds: float | None = None

    @property
    def positions(self) -> int:
        """How far it is behind."""
        return max(0, self.awaited - self.reached)


@dataclass(frozen=True, slots=True)
class Fresh:
    """What is read now holds everything that the token has seen, as far as this service follows it."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The time limit came first: this is missing, and is on its way as far as anybody knows."""

    behind: tuple[PositionLag, ...]


@dataclass(frozen=True, slots=True)
class Stalled:
    """What is missing does not come by itself: why, by lane or projection."""

    behind: tuple[PositionLag, ...]
    reasons: Mapping[str, str]


Freshness = Fresh | Stale | Stalled
"""The answer to a wait: never a guess."""


class PositionSource(Protocol):
    """Where it is seen how far things have come."""

    async def reached(self, names: Collection[str]) -> Mapping[str, CurrentPosition]:
        """How far each has come, in few round trips; what is not known of is left out. Raises `Unavailable`."""


class _Waiter:
    """One wait: its goal, what is still missing of it, and the future that ends it."""

    __slots__ = ("done", "goal", "looked", "missing")

    def __init__(self, goal: TargetPositions, known: Mapping[str, CurrentPosition]) -> None:
        self.goal = goal
        self.missing: Mapping[str, CurrentPosition] = {name: known.get(name, CurrentPosition()) for name in goal}
        self.looked = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def see(self, found: Mapping[str, CurrentPosition]) -> None:
        """Take a look's result; ends the wait where all is there."""
        seen = {name: found.get(name, CurrentPosition()) for name in self.goal}
        self.missing = {name: each for name, each in seen.items() if each.position < self.goal[name]}
        self.looked = True
        if not self.missing and not self.done.done():
            self.done.set_result(None)


class PositionWatcher:
    """Looks for all who wait, by the clock: at once when one comes, soon after `wake`, and else ever more seldom."""

    def __init__(
        self,
        frontier: PositionSource,
        clock: Clock,
        *,
        pause_seconds: float = 0.01,
        pause_seconds_max: float = 0.1,
        look_seconds: float = 3.0,
    ) -> None:
        """`look_seconds` is after how long a look is given up, and the next one taken, on another connection."""
        self.looks = 0
        self._frontier = frontier
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
        """Something has moved: look now. For the event loop's own thread; nothing where nobody waits."""
        if self._waiters:
            self._news.set()

    async def until(self, goal: TargetPositions, limit_seconds: float) -> Mapping[str, CurrentPosition]:
        """Return what of the goal is missing when the limit is reached; nothing as soon as all is there.

        It ends at the limit, also where a look hangs: what is missing is then as far as it was when it was last seen. A
        limit of 0 asks for one look, which may take as long as a look may. Raises `Unavailable` where looking failed:
        then nothing is known. Cancellation ends this wait alone.
        """
        if not goal:
            return {}
        waiter = _Waiter(goal, self._known)
        self._waiters[waiter] = None
        self._news.set()
        if self._task is None or self._task.done():
            self._error = None
            self._task = asyncio.create_task(self._look_on(), name="consistency watch")
        try:
            if limit_seconds > 0:
                await self._within(waiter.done, limit_seconds)
            else:
                await self._within(waiter.done, self._look_seconds, or_looked=waiter)
        finally:
            self._waiters.pop(waiter, None)
        if waiter.done.done():
            waiter.done.result()
            return {}
        if not waiter.looked and self._error is not None:
            raise Unavailable("how far this service has read could not be found out") from self._error
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

    async def _within(self, done: asyncio.Future[None], seconds: float, or_looked: _Waiter | None = None) -> None:
        """Wait for the answer, at most so long by the clock; `or_looked`: only until a look was taken."""
        sleeper = asyncio.ensure_future(self._clock.sleep(max(0.0, seconds)))
        try:
            while not (done.done() or sleeper.done() or (or_looked is not None and or_looked.looked)):
                pause = None if or_looked is None else self._pause_seconds
                await asyncio.wait({done, sleeper}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()

    async def _look_on(self) -> None:
        pause_seconds = self._pause_seconds
        while self._waiters:
            self._news.clear()
            waiting = tuple(self._waiters)
            try:
                found = await self._look({name for waiter in waiting for name in waiter.goal})
            except Exception as error:  # noqa: BLE001 - who waits is told, whatever it is
                for waiter in waiting:
                    if waiter in self._waiters and not waiter.done.done():
                        waiter.done.set_exception(error)
                    self._waiters.pop(waiter, None)
            else:
                self._tell(waiting if found is not None else (), found or {})
            if not self._waiters:
                return
            woken = await self._pause(pause_seconds)
            pause_seconds = self._pause_seconds if woken else min(2 * pause_seconds, self._pause_seconds_max)

    def _tell(self, waiting: Sequence[_Waiter], found: Mapping[str, CurrentPosition]) -> None:
        for waiter in waiting:
            waiter.see(found)
            if waiter.done.done():
                self._waiters.pop(waiter, None)

    async def _look(self, names: set[str]) -> Mapping[str, CurrentPosition] | None:
        """How far each has come; None where that could not be found out."""
        self.looks += 1
        try:
            async with asyncio.timeout(self._look_seconds):
                found = await self._frontier.reached(names)
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
        """Idle until something moves or somebody comes, at most so long; returns whether that was so."""
        news = asyncio.ensure_future(self._news.wait())
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({news, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            return self._news.is_set()
        finally:
            news.cancel()
            sleeper.cancel()
