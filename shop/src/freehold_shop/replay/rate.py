"""The rate at which orders are placed: a fixed one, or as fast as the shop accepts them. Imports Freehold's clock."""

from __future__ import annotations

from freehold import Clock

__all__ = ["BURST_SECONDS", "Pace"]

BURST_SECONDS = 1.0
"""The longest pause whose missed orders are placed at once afterwards."""


class Pace:
    """A token bucket: `turn` returns when the next order may be placed. For one task at a time.

    `rate_per_second` None: no limit. After a pause of the caller (the shop was busy) the missed orders follow at once,
    at most those of `BURST_SECONDS`.
    """

    def __init__(self, clock: Clock, rate_per_second: float | None) -> None:
        if rate_per_second is not None and rate_per_second <= 0:
            raise ValueError("the rate must be above 0")
        self._clock = clock
        self._interval_seconds = None if rate_per_second is None else 1.0 / rate_per_second
        self._next_at = clock.monotonic()

    async def turn(self) -> None:
        """Wait for the next order's time; a cancelled wait does not use its turn up."""
        if self._interval_seconds is None:
            return
        now = self._clock.monotonic()
        at = max(self._next_at, now - BURST_SECONDS)
        if at > now:
            await self._clock.sleep(at - now)
        self._next_at = at + self._interval_seconds
