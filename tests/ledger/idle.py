"""What a service does to its database in a minute in which nothing happens. Imports the ground.

Its loops run as they do at work, on a clock that goes on only when all of them wait for it: a minute takes as long as
what is done in it, and the same is done however busy the machine is.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from tests.ledger.counters import Counters
from tests.ledger.ground import declared, file_broker, settings_of

from freehold import RunningService
from freehold.adapters.sql.engine.database import EngineDatabase
from freehold.lifecycle import Runner
from freehold.runtime.roles import ROLES
from freehold.testing import ManualClock

__all__ = ["IDLE", "idle_minute"]

IDLE: Final = "idle: a service for a minute"
_WARM_UP_SECONDS: Final = 65.0
_MINUTE_SECONDS: Final = 60.0
_ROUND_SECONDS_MAX: Final = 60.0
_TICKS_A_SECOND: Final = 1024
_TURNS: Final = 3
"""Of the event loop: who has begun to wait has told the clock by then."""
# The consumer waits for the broker, and asks the database nothing meanwhile.
_LOOPS: Final = tuple(role for role in ROLES if role != "consumer")


class _Waiting:
    """Which loops wait, and until when."""

    def __init__(self, clock: ManualClock) -> None:
        self.wakes = 0
        self.until: dict[Runner, float] = {}
        self._clock = clock
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def noted(self) -> AsyncIterator[None]:
        """Note every wait of every loop."""
        original, waiting = Runner.wait, self

        async def wait(self: Runner, seconds: float) -> None:
            # Times that add up exactly: what is due after a second must not be due a hair before it.
            seconds = math.ceil(seconds * _TICKS_A_SECOND) / _TICKS_A_SECOND
            waiting.until[self] = waiting._clock.monotonic() + seconds
            waiting._changed.set()
            try:
                await original(self, seconds)
            finally:
                del waiting.until[self]
                waiting._changed.set()
                waiting.wakes += 1

        with patch.object(Runner, "wait", wait):
            yield

    async def pass_seconds(self, running: RunningService, seconds: float) -> None:
        """Move the clock from one loop's time to the next, and let each round come to its end."""
        end = self._clock.monotonic() + seconds
        await self._all_wait(running)
        while (due := min(self.until.values())) <= end:
            self._clock.advance(due - self._clock.monotonic())
            async with asyncio.timeout(_ROUND_SECONDS_MAX):
                while any(until <= due for until in self.until.values()):
                    self._changed.clear()
                    await self._changed.wait()
            await self._all_wait(running)
        self._clock.advance(end - self._clock.monotonic())

    async def _all_wait(self, running: RunningService) -> None:
        while busy := [each.name for each in running.watched if each not in self.until or each._wake.is_set()]:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), _ROUND_SECONDS_MAX)
            except TimeoutError as error:
                raise AssertionError(f"these loops do not come to wait: {', '.join(busy)}") from error
        for _ in range(_TURNS):
            await asyncio.sleep(0)


async def idle_minute(counters: Counters, directory: Path, clock: ManualClock) -> Mapping[str, int]:
    """The counters of a minute, and `wakes`: how often a loop woke."""
    broker = file_broker(directory)
    running = RunningService(declared(), settings_of(counters, directory), broker=broker, roles=_LOOPS, clock=clock)
    waiting = _Waiting(clock)
    try:
        async with waiting.noted(), running:
            await _connect_all(running)
            await waiting.pass_seconds(running, _WARM_UP_SECONDS)
            counters.begin()
            waiting.wakes = 0
            await waiting.pass_seconds(running, _MINUTE_SECONDS)
            return {**counters.end(), "wakes": waiting.wakes}
    finally:
        await broker.close()


async def _connect_all(running: RunningService) -> None:
    """Have the pool make all of its connections: when it makes one depends on which loops meet."""
    database = running.stores.database
    assert isinstance(database, EngineDatabase)
    for pooled in [await database._check_out() for _ in range(running.settings.database_options.pool_size)]:
        await database._give(pooled)
