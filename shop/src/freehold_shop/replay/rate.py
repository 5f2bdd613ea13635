"""How fast orders are put in: a steady rate, or as fast as the shop takes them. Imports Freehold's clock."""

from __future__ import annotations

from freehold import Clock

__all__ = ["BURST_SECONDS", "Pace"]

BURST_SECONDS = 1.0
"""What was missed is caught up on for at most this long; beyond it the rate stays what was asked for."""


class Pace:
    """A token bucket: `turn` returns when the next order may go in. For one task at a time.

    `rate_per_second` None is no limit. After a pause of the caller's own (the shop was busy) the orders it missed
    follow at once, those of `BURST_SECONDS` at most.
    """

    def __init__(self, clock: Clock, rate_per_second: float | None) -> None:
        if rate_per_second is not None and rate_per_second <= 0:
            raise ValueError("a rate is above 0")
        self._clock = clock
        self._interval_seconds = None if rate_per_second is None else 1.0 / rate_per_second
        self._next_at = clock.monotonic()

    async def turn(self) -> None:
        """Wait for the next order's time; cancelled, its turn is not used up."""
        if self._interval_seconds is None:
            return
        now = self._clock.monotonic()
        at = max(self._next_at, now - BURST_SECONDS)
        if at > now:
            await self._clock.sleep(at - now)
        self._next_at = at + self._interval_seconds
