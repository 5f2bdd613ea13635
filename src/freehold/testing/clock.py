"""A manual clock for tests. Testing: imports the foundation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from freehold.clock import Clock

__all__ = ["ManualClock"]

_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock(Clock):
    """A clock that moves only by `advance`: `Runtime(service, settings=…, clock=ManualClock())`.

    It replaces the system's time and the database's. Retries, timeouts of sagas, scheduled messages and leases wait
    until `advance`; `settled(…, clock=clock)` advances it as far as needed. One for each event loop.
    """

    def __init__(self, start: datetime = _BEGINNING) -> None:
        self._now = start
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """The start, plus the seconds that the clock was advanced by."""
        return self._now

    def monotonic(self) -> float:
        """The seconds that the clock was advanced by."""
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced by `seconds`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, future))
        if seconds <= 0:
            future.set_result(None)
        await future

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and wake the sleepers that are due."""
        self._now += timedelta(seconds=seconds)
        self._seconds += seconds
        for due, future in self._sleepers:
            if due <= self._seconds and not future.done():
                future.set_result(None)
        self._sleepers = [(due, future) for due, future in self._sleepers if not future.done()]
