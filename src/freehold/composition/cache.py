"""A cache of reference data, which changes seldom and is read often. Imports the foundation and `single_flight`.

An entry is fresh for its time to live. For some time after that it is still returned at once, and fetched again in the
background. Later it is fetched before it is returned; if that fails, the old entry is returned for a limited time,
marked as stale. At most one fetch is in progress for a key, however many wait for it.
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
from freehold.composition.single_flight import SingleFlight
from freehold.errors import DeclarationError, OperationTimeout, Unavailable

__all__ = ["CachePolicy", "Cached", "Freshness", "ReferenceCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Freshness(StrEnum):
    """How fresh a value of the cache is. `STALE_ON_ERROR`: past its time to live, and its source does not respond."""

    FRESH = "fresh"
    STALE = "stale"
    STALE_ON_ERROR = "stale-on-error"


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long entries are used, and how many there are.

    ttl_seconds            how long an entry is fresh
    revalidate_seconds     how long after that it is still returned while it is fetched again in the background
    error_seconds          how long after its time to live it is returned if it cannot be fetched
    negative_ttl_seconds   how long it is cached that a key does not exist
    retry_seconds          pause after a failed fetch, if the old entry may be returned
    size_max               number of entries, and of negative ones: invented keys do not evict entries of real ones
    load_seconds           time limit of a fetch
    """

    ttl_seconds: float = 300.0
    revalidate_seconds: float = 300.0
    error_seconds: float = 3600.0
    negative_ttl_seconds: float = 30.0
    retry_seconds: float = 1.0
    size_max: int = 1_000
    load_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Raise `DeclarationError` for numbers out of range."""
        times = (self.revalidate_seconds, self.error_seconds, self.negative_ttl_seconds, self.retry_seconds)
        limits = (self.ttl_seconds, self.load_seconds)
        possible = all(isfinite(each) and each >= 0 for each in times)
        if not possible or not all(isfinite(each) and each > 0 for each in limits) or self.size_max < 1:
            raise DeclarationError("a cache has a number out of range", hint="seconds and sizes are greater than 0")


@dataclass(frozen=True, slots=True)
class Cached(Generic[V]):
    """A result of the cache: the value, None if the key does not exist; how fresh, and how old."""

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
    """Values by key, fetched by `load`, which returns None if the key does not exist.

    If one of several waiters is cancelled, the fetch continues for the others. A fetch that nobody waits for is
    cancelled, except one in the background, which `close` cancels. For one event loop.
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

        Raises `Unavailable` if there is no entry to return and the source does not respond in time, and other errors of
        `load`.
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
        if now < entry.retry and self._is_usable(entry, past_seconds):
            return self._answer(entry)
        try:
            return self._answer(await self._flight(key).join())
        except Unavailable:
            if self._is_usable(entry, past_seconds):
                return self._answer(entry)
            raise

    def invalidate(self, key: K) -> None:
        """Remove a key. A fetch in progress returns its value to those who wait for it, and does not store it."""
        self._known.pop(key, None)
        self._absent.pop(key, None)
        self._flights.pop(key, None)

    def __len__(self) -> int:
        return len(self._known) + len(self._absent)

    async def close(self) -> None:
        """Cancel fetches in progress; their waiters get `Unavailable`."""
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
        """Seconds since the end of its time to live; negative before that."""
        ttl = self._policy.negative_ttl_seconds if entry.value is None else self._policy.ttl_seconds
        return now - entry.loaded - ttl

    def _is_usable(self, entry: _Entry[V], past_seconds: float) -> bool:
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
                raise OperationTimeout("reference data did not arrive in time", hint="try again later") from error
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
