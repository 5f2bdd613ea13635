"""Time as a dependency: wall clock, monotonic clock, waiting, and the hybrid logical clock. Foundation: stdlib only.

Only `SystemClock` asks the operating system for the time; tests inject their own `Clock`.
The hybrid logical clock follows Kulkarni et al., "Logical Physical Clocks" (2014): a stamp is 48 bits of milliseconds
and 16 bits of counter in one integer, so that stamps compare as integers and fit a signed 64-bit column until 2248.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

__all__ = ["Clock", "HybridLogicalClock", "SystemClock", "duration", "poll_until", "stamp_time"]

T = TypeVar("T")
_COUNTER_BITS = 16
_POLL_SECONDS = 0.2


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC. May jump; never used to decide an order."""

    def monotonic(self) -> float:
        """Return seconds that never decrease; only differences have a meaning."""

    async def sleep(self, seconds: float) -> None:
        """Wait this long by this clock; cancellable."""


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds`."""
        await asyncio.sleep(max(0.0, seconds))


class HybridLogicalClock:
    """Makes stamps that are greater than every stamp this process has given or seen, and close to wall-clock time.

    Thread-safe. `observe` refuses a stamp that is further ahead than `drift_seconds_max`, so that one broken clock
    cannot drag all others into the future.
    """

    def __init__(self, clock: Clock, *, drift_seconds_max: float = 3600.0) -> None:
        self._clock = clock
        self._drift_ms_max = int(drift_seconds_max * 1000)
        self._last = 0
        self._lock = threading.Lock()

    def tick(self) -> int:
        """Return a new stamp for something that happens here now: sending, committing."""
        physical = self._physical_ms() << _COUNTER_BITS
        with self._lock:
            self._last = max(self._last + 1, physical)
            return self._last

    def observe(self, *stamps: int) -> bool:
        """Note received stamps; later ticks are greater. Returns False where one is too far ahead, which is ignored."""
        latest_ms = self._physical_ms() + self._drift_ms_max
        near = [stamp for stamp in stamps if (stamp >> _COUNTER_BITS) <= latest_ms]
        with self._lock:
            self._last = max((self._last, *near))
        return len(near) == len(stamps)

    def last(self) -> int:
        """Return the greatest stamp given or seen."""
        with self._lock:
            return self._last

    def _physical_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


async def poll_until(
    settled: Callable[[T], bool], first: T, read: Callable[[], Awaitable[T]], *, seconds: float, clock: Clock
) -> T:
    """Call `read` every 0.2 s until its result is `settled` or `seconds` have passed, by `clock`; returns the last
    result, or `first`, which was read before, if that is settled. For the state of other processes: they notify nobody.
    """
    found, deadline = first, clock.monotonic() + seconds
    while not settled(found) and clock.monotonic() < deadline:
        await clock.sleep(_POLL_SECONDS)
        found = await read()
    return found


def stamp_time(stamp: int) -> datetime:
    """Return the wall-clock part of a stamp."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=stamp >> _COUNTER_BITS)


def duration(seconds: float | None) -> str:
    """A time span in the unit that fits: `340 ms`, `12.0 s`, `3 min`, `2.5 h`, `4.0 d`."""
    if seconds is None:
        return "-"
    for limit, divisor, unit in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}" if unit in {"ms", "min"} else f"{seconds / divisor:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"
