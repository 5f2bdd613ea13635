"""A loader against N+1 calls: keys that are requested one by one are fetched together. Imports the foundation and
`single_flight`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Final, Generic, TypeVar

from freehold.clock import Clock, SystemClock
from freehold.composition.single_flight import SingleFlight
from freehold.errors import DeclarationError, Unavailable
from freehold.tasks import TaskGroup

__all__ = ["Loader"]

K = TypeVar("K")
V = TypeVar("V")
_CALLS_AT_ONCE: Final = 4


class Loader(Generic[K, V]):
    """Collects the keys requested in one turn of the event loop, or within `window_seconds`, and loads them together.

    `load` gets at most `size_max` different keys and returns what it found; a key that is not in the result is None.
    More keys are divided into several calls, four at once; a call that fails affects its own keys only. With `remember`
    a key is loaded once in the loader's life, which must then be short, such as a request. Without it, a key that is
    requested after its batch was sent is loaded again.

    A load that nobody waits for any more is cancelled. Raises `DeclarationError` for a size or window out of range.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        *,
        size_max: int = 500,
        window_seconds: float = 0.0,
        remember: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if size_max < 1 or not (isfinite(window_seconds) and window_seconds >= 0):
            raise DeclarationError("a loader's size_max is at least 1, and its window_seconds at least 0")
        self._load = load
        self._size_max = size_max
        self._window_seconds = window_seconds
        self._remember = remember
        self._clock: Clock = clock or SystemClock()
        self._collecting: _Batch[K, V] | None = None
        self._known: dict[K, _Batch[K, V]] = {}

    async def load(self, key: K) -> V | None:
        """The value of a key, None if there is none. Raises the error of `load` for its batch."""
        return (await self.load_all([key]))[key]

    async def load_all(self, keys: Iterable[K]) -> dict[K, V | None]:
        """The values of the keys, in the order given, each once. Raises the error of `load` for one of them."""
        wanted = list(dict.fromkeys(keys))
        while True:
            batches = {key: self._batch_of(key) for key in wanted}
            flights = [batch.flight for batch in dict.fromkeys(batches.values())]
            try:
                await asyncio.gather(*(flight.join() for flight in flights))
            except Unavailable:
                # All other waiters of a batch were cancelled in the turn in which these keys joined it: begin again.
                if all(flight.joinable for flight in flights):
                    raise
            else:
                return {key: batch.value(key) for key, batch in batches.items()}

    def _batch_of(self, key: K) -> _Batch[K, V]:
        known = self._known.get(key)
        if known is not None and known.flight.joinable:
            return known
        collecting = self._collecting
        if collecting is None or not collecting.flight.joinable:
            collecting = self._collecting = _Batch(self._run)
        collecting.keys[key] = None
        if self._remember:
            self._known[key] = collecting
        return collecting

    async def _run(self, batch: _Batch[K, V]) -> None:
        """Load a batch. A task begins in the turn after its creation, so the rest of that turn still adds keys."""
        if self._window_seconds:
            await self._clock.sleep(self._window_seconds)
        if self._collecting is batch:
            self._collecting = None
        keys, room = list(batch.keys), asyncio.Semaphore(_CALLS_AT_ONCE)
        chunks = [keys[start : start + self._size_max] for start in range(0, len(keys), self._size_max)]

        async def load_chunk(chunk: Sequence[K]) -> None:
            async with room:
                try:
                    batch.found.update(await self._load(chunk))
                except Exception as error:  # noqa: BLE001 - it is raised to those who wait for one of these keys
                    batch.failed.update(dict.fromkeys(chunk, error))

        async with TaskGroup() as calls:
            for chunk in chunks:
                calls.create_task(load_chunk(chunk))


class _Batch(Generic[K, V]):
    """Keys that are loaded together, with their values or errors."""

    def __init__(self, run: Callable[[_Batch[K, V]], Awaitable[None]]) -> None:
        self.keys: dict[K, None] = {}
        self.found: dict[K, V] = {}
        self.failed: dict[K, Exception] = {}
        self.flight = SingleFlight(self._work(run))

    async def _work(self, run: Callable[[_Batch[K, V]], Awaitable[None]]) -> None:
        await run(self)

    def value(self, key: K) -> V | None:
        if key in self.failed:
            raise self.failed[key]
        return self.found.get(key)
