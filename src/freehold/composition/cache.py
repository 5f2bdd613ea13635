"""A cache of reference data: what seldom changes and is asked for all the time. Imports the foundation and `flight`.

An entry is fresh for its time to live. For a while after that it is given out as it is, and fetched again behind the
answer. Later it is fetched before the answer, and where that fails it is given out once more for a bounded time,
marked as such. One fetch is in progress for a key, however many wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Generic, TypeVar

from freehold.clock import Clock, SystemClock
from freehold.composition.budget import within
from freehold.composition.flight import SingleFlight
from freehold.errors import DeclarationError, OperationTimeout, Unavailable

__all__ = ["CachePolicy", "Cached", "Freshness", "ReferenceCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Freshness(StrEnum):
    """How a value that comes from the cache is. `STALE_ON_ERROR`: past its time, and its source does not answer."""

    FRESH = "fresh"
    STALE = "stale"
    STALE_ON_ERROR = "stale-on-error"


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long and how much.

    ttl_seconds            an entry is fresh
    revalidate_seconds     after that, it is given out while it is fetched again
    error_seconds          after the time to live, it is given out where it cannot be fetched
    negative_ttl_seconds   "there is no such thing" is believed
    retry_seconds          after a failed fetch, an entry that may be given out is not fetched again
    size_max               entries, and again as many negative ones: made-up keys push out no real ones
    load_seconds           limit of a fetch
    """

    ttl_seconds: float = 300.0
    revalidate_seconds: float = 300.0
    error_seconds: float = 3600.0
    negative_ttl_seconds: float = 30.0
    retry_seconds: float = 1.0
    size_max: int = 1_000
    load_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Raise `DeclarationError` for numbers that cannot be meant."""
        times = (self.revalidate_seconds, self.error_seconds, self.negative_ttl_seconds, self.retry_seconds)
        limits = (self.ttl_seconds, self.load_seconds)
        possible = all(isfinite(each) and each >= 0 for each in times)
        if not possible or not all(isfinite(each) and each > 0 for each in limits) or self.size_max < 1:
            raise DeclarationError("a cache's numbers cannot be meant", hint="seconds and sizes are greater than 0")


@dataclass(frozen=True, slots=True)
class Cached(Generic[V]):
    """What the cache answers: the value, None where there is no such thing; how fresh, and how old."""

    value: V | None
    freshness: Freshness
    age_seconds: float


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V | None
    loaded: float
    retry: float = 0.0  # not before this moment, after a fetch that failed
    failing: bool = False


class ReferenceCache(Generic[K, V]):
    """Values by key from `load`, which returns None where there is no such thing.

    A cancelled waiter leaves the others waiting; a fetch that nobody waits for ends, but for one that goes on behind an
    answer. `close` ends these. For one event loop.
    """

    def __init__(
        self, load: Callable[[K], Awaitable[V | None]], policy: CachePolicy | None = None, *, clock: Clock | None = None
    ) -> None:
        self._load = load
        self._policy = policy or CachePolicy()
        self._clock: Clock = clock or SystemClock()
        self._known: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._absent: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._flights: dict[K, SingleFlight[_Entry[V]]] = {}

    async def get(self, key: K) -> Cached[V]:
        """The value, from the cache or from its source.

        Raises `Unavailable` where there is nothing that may be given out and the source does not answer in time, and
        whatever else `load` raises.
        """
        entry, now = self._entry(key), self._clock.monotonic()
        if entry is None:
            return self._answer(await self._flight(key).join())
        past_seconds = self._past_seconds(entry, now)
        if past_seconds < 0:
            return self._answer(entry)
        if entry.value is not None and past_seconds < self._policy.revalidate_seconds:
            if now >= entry.retry:
                self._flight(key, kept=True)
            return self._answer(entry)
        if now < entry.retry and self._may_stand_in(entry, past_seconds):
            return self._answer(entry)
        try:
            return self._answer(await self._flight(key).join())
        except Unavailable:
            if self._may_stand_in(entry, past_seconds):
                return self._answer(entry)
            raise

    def invalidate(self, key: K) -> None:
        """Forget a key. A fetch that is in progress answers those who wait for it, and is not kept."""
        self._known.pop(key, None)
        self._absent.pop(key, None)
        self._flights.pop(key, None)

    def __len__(self) -> int:
        return len(self._known) + len(self._absent)

    async def close(self) -> None:
        """End what is in progress; who waits for it gets `Unavailable`."""
        flights, self._flights = list(self._flights.values()), {}
        for flight in flights:
            await flight.close()

    def _entry(self, key: K) -> _Entry[V] | None:
        entries = self._known if key in self._known else self._absent
        entry = entries.get(key)
        if entry is not None:
            entries.move_to_end(key)
        return entry

    def _past_seconds(self, entry: _Entry[V], now: float) -> float:
        """How long it is past its time to live; negative before."""
        ttl = self._policy.negative_ttl_seconds if entry.value is None else self._policy.ttl_seconds
        return now - entry.loaded - ttl

    def _may_stand_in(self, entry: _Entry[V], past_seconds: float) -> bool:
        return entry.value is not None and past_seconds < self._policy.error_seconds

    def _answer(self, entry: _Entry[V]) -> Cached[V]:
        now = self._clock.monotonic()
        if self._past_seconds(entry, now) < 0:
            freshness = Freshness.FRESH
        else:
            freshness = Freshness.STALE_ON_ERROR if entry.failing else Freshness.STALE
        return Cached(entry.value, freshness, now - entry.loaded)

    def _flight(self, key: K, *, kept: bool = False) -> SingleFlight[_Entry[V]]:
        flight = self._flights.get(key)
        if flight is None or not flight.joinable:
            flight = self._flights[key] = SingleFlight(
                self._fetch(key, lambda: self._flights.get(key) is flight), kept=kept
            )
        return flight

    async def _fetch(self, key: K, is_current: Callable[[], bool]) -> _Entry[V]:
        begun = self._clock.monotonic()
        try:
            value = await within(self._clock, self._policy.load_seconds, self._loaded(key))
        except (TimeoutError, Unavailable) as error:
            if is_current():
                self._note_failure(key)
            if isinstance(error, TimeoutError):
                raise OperationTimeout("reference data did not come in time", hint="try again later") from error
            raise
        else:
            entry = _Entry(value, begun)
            if is_current():
                self._keep(key, entry)
            return entry
        finally:
            if is_current():
                del self._flights[key]

    async def _loaded(self, key: K) -> V | None:
        return await self._load(key)

    def _note_failure(self, key: K) -> None:
        entry = self._known.get(key)
        if entry is not None:
            entry.failing = True
            entry.retry = self._clock.monotonic() + self._policy.retry_seconds

    def _keep(self, key: K, entry: _Entry[V]) -> None:
        self._known.pop(key, None)
        self._absent.pop(key, None)
        entries = self._absent if entry.value is None else self._known
        entries[key] = entry
        while len(entries) > self._policy.size_max:
            entries.popitem(last=False)
