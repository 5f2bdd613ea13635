"""A clock beside real sockets that stands still while this process is not let run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from freehold.clock import Clock

__all__ = ["running_clock"]

_TICK_SECONDS = 0.01


class _RunningClock:
    """No `SystemClock`: that one's limits are those of the event loop, which counts pauses in."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        end = self._seconds + seconds
        while self._seconds < end:  # noqa: ASYNC110 - time is nobody's event
            await asyncio.sleep(_TICK_SECONDS)

    async def tick(self) -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            self._seconds += min(time.monotonic() - begun, 2 * _TICK_SECONDS)


@asynccontextmanager
async def running_clock() -> AsyncIterator[Clock]:
    """Real time, less what a busy machine took of it: a limit that passes by this clock left time for the work."""
    clock = _RunningClock()
    ticking = asyncio.create_task(clock.tick())
    try:
        yield clock
    finally:
        ticking.cancel()
