"""The time budget of a whole response, of which each call gets a share. Imports the foundation only.

A call's share is sent in `freehold-budget-ms`, so that the called service can stop when nobody waits any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from freehold.clock import Clock, SystemClock

__all__ = ["BUDGET_HEADER", "Budget", "within"]

BUDGET_HEADER: Final = "freehold-budget-ms"
_DIGITS_MAX: Final = 9
T = TypeVar("T")


class Budget:
    """A time budget that begins now and lasts `seconds`, by the given clock."""

    def __init__(self, seconds: float, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._ends = self.clock.monotonic() + seconds

    @classmethod
    def from_header(cls, value: str | None, seconds_max: float, clock: Clock | None = None) -> Budget:
        """The budget in a request's header, at most `seconds_max`; `seconds_max` if there is no valid header."""
        text = (value or "").strip()
        if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX:
            return cls(seconds_max, clock)
        return cls(min(seconds_max, int(text) / 1000), clock)

    def left_seconds(self) -> float:
        """The remaining seconds; 0 once the budget is used up."""
        return max(0.0, self._ends - self.clock.monotonic())

    def share_seconds(self, limit_seconds: float) -> float:
        """The seconds that a call with this limit of its own may take."""
        return min(limit_seconds, self.left_seconds())


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Run the work for at most `seconds` by the clock.

    Raises `TimeoutError` at the limit. The work has ended when this returns, raises or is cancelled.
    """
    if seconds <= 0:
        work.close()
        raise TimeoutError
    if isinstance(clock, SystemClock):
        # The event loop uses the same time, and needs no tasks for work and timer.
        async with asyncio.timeout(seconds):
            return await work
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise TimeoutError
    finally:
        task.cancel()
        timer.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)
