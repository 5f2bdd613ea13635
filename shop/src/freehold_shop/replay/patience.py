"""The time limit of waiting for a shop that makes no progress. Imports Freehold's clock and errors."""

from __future__ import annotations

import random

from freehold import Clock, Unavailable

__all__ = ["OutOfPatience", "Patience"]

_DELAY_SECONDS = 0.1
_DELAY_SECONDS_MAX = 2.0


class OutOfPatience(Unavailable):
    """The shop has made no progress for too long."""

    def __init__(self, seconds: float, last_trouble: str) -> None:
        super().__init__(
            f"the shop has made no progress for {seconds:g} s" + (f"; {last_trouble}" if last_trouble else ""),
            hint="check that it runs, whether a fault is on (shop faults), and its logs",
        )


class Patience:
    """The time limit that all tasks of a replay share: any progress of one task restarts it."""

    def __init__(self, clock: Clock, limit_seconds: float) -> None:
        self._clock = clock
        self._limit_seconds = limit_seconds
        self._moved_at = clock.monotonic()
        self._last_trouble = ""

    def trouble(self, what: str) -> None:
        """Note what went wrong last, for the error at the limit."""
        self._last_trouble = what

    def progress(self) -> None:
        """Note progress, which restarts the limit."""
        self._moved_at = self._clock.monotonic()

    def check(self) -> None:
        """Raise `OutOfPatience` where there was no progress within the limit."""
        if self._clock.monotonic() - self._moved_at > self._limit_seconds:
            raise OutOfPatience(self._limit_seconds, self._last_trouble)

    async def wait(self, attempt: int) -> None:
        """Wait before the next attempt, longer with each, with jitter. Raises `OutOfPatience`."""
        self.check()
        delay_seconds = min(_DELAY_SECONDS * 2 ** min(attempt - 1, 10), _DELAY_SECONDS_MAX)
        await self._clock.sleep(delay_seconds * random.uniform(0.5, 1.0))
