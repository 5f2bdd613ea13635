"""How long a shop that does not move is waited for. Imports Freehold's clock and errors."""

from __future__ import annotations

import random

from freehold import Clock, Unavailable

__all__ = ["OutOfPatience", "Patience"]

_DELAY_SECONDS = 0.1
_DELAY_SECONDS_MAX = 2.0


class OutOfPatience(Unavailable):
    """Nothing has moved for too long: the shop is down, or it is stuck."""

    def __init__(self, seconds: float, last_trouble: str) -> None:
        super().__init__(
            f"the shop has not moved for {seconds:g} s" + (f"; {last_trouble}" if last_trouble else ""),
            hint="is it running, and is a fault on? see: shop faults, and its logs",
        )


class Patience:
    """Shared by everything that waits for the shop: any progress anywhere gives all of it new patience."""

    def __init__(self, clock: Clock, limit_seconds: float) -> None:
        self._clock = clock
        self._limit_seconds = limit_seconds
        self._moved_at = clock.monotonic()
        self._last_trouble = ""

    def trouble(self, what: str) -> None:
        """Note what went wrong last, to be told when patience has run out."""
        self._last_trouble = what

    def progress(self) -> None:
        """Something moved."""
        self._moved_at = self._clock.monotonic()

    def check(self) -> None:
        """Raise `OutOfPatience` where nothing has moved for the limit."""
        if self._clock.monotonic() - self._moved_at > self._limit_seconds:
            raise OutOfPatience(self._limit_seconds, self._last_trouble)

    async def wait(self, attempt: int) -> None:
        """Wait before the next attempt, longer with each, with jitter. Raises `OutOfPatience`."""
        self.check()
        delay_seconds = min(_DELAY_SECONDS * 2 ** min(attempt - 1, 10), _DELAY_SECONDS_MAX)
        await self._clock.sleep(delay_seconds * random.uniform(0.5, 1.0))
