"""A clock for tests, which moves when it is told to. Testing: imports the foundation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from freehold.clock import Clock

__all__ = ["ManualClock"]

_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock(Clock):
    """A clock that moves only when it is told to: `Runtime(service, settings=…, clock=ManualClock())`.

    It takes the place of the system's, and of the database's own time. Nothing that waits for time goes on until
    `advance`: retries, timeouts of sagas, scheduled messages, leases. `settled(…, clock=clock)` moves it as far as
    needed. One for each event loop.
    """

    def __init__(self, start: datetime = _BEGINNING) -> None:
        self._now = start
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """The time that was set."""
        return self._now

    def monotonic(self) -> float:
        """The seconds that it was moved by."""
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until it was moved so far."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, future))
        if seconds <= 0:
            future.set_result(None)
        await future

    def advance(self, seconds: float) -> None:
        """Move on, and wake who waited for it."""
        self._now += timedelta(seconds=seconds)
        self._seconds += seconds
        for due, future in self._sleepers:
            if due <= self._seconds and not future.done():
                future.set_result(None)
        self._sleepers = [(due, future) for due, future in self._sleepers if not future.done()]
