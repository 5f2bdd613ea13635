"""What a running service's database and broker said to a write, and how long ago. Runtime: imports the ports.

Readiness is asked every few seconds, and by several at once. A write that went well is trusted for a while; one that
failed is tried again at the next question, so that what is mended is seen at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from freehold.broker import Broker
from freehold.clock import Clock
from freehold.database import Database
from freehold.errors import FreeholdError

__all__ = ["Probe", "Probes", "told"]

_TRUSTED_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.5


class Probe:
    """A write that shows whether work gets on, asked for when it is needed. `write` is given a time limit."""

    def __init__(self, write: Callable[[float], Awaitable[None]], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._turn = asyncio.Lock()
        self._asked_at = -math.inf
        self._failing_since: float | None = None
        self._error: FreeholdError | None = None

    @property
    def trusted(self) -> bool:
        """Whether the write went well a short while ago."""
        return self._error is None and not self.due

    @property
    def due(self) -> bool:
        """Whether what is known is too old."""
        kept_seconds = _TRUSTED_SECONDS if self._error is None else _AGAIN_SECONDS
        return self._clock.monotonic() - self._asked_at >= kept_seconds

    async def problem(self, timeout_seconds: float) -> str:
        """What keeps the write from being done, and since when it is known; empty for nothing. Who comes while it is
        tried waits for the same answer.
        """
        async with self._turn:
            if self.due:
                await self._ask(timeout_seconds)
        if self._error is None or self._failing_since is None:
            return ""
        seconds = self._clock.monotonic() - self._failing_since
        return told(self._error) + (f", for {seconds:.0f} s now" if seconds >= 1.0 else "")

    async def _ask(self, timeout_seconds: float) -> None:
        error: FreeholdError | None = None
        try:
            await self._write(timeout_seconds)
        except FreeholdError as failure:
            error = failure
        now = self._clock.monotonic()
        if error is None:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        self._asked_at, self._error = now, error


class Probes:
    """The probes of one service, and what is known of deferred and overdue messages since the database was last
    written.
    """

    def __init__(self, service: str, database: Database, broker: Broker, clock: Clock) -> None:
        self.database = Probe(database.probe, clock)
        self.broker = Probe(lambda seconds: broker.probe(service, seconds), clock)
        self.deferred = ""
        self.overdue = ""


def told(error: FreeholdError) -> str:
    """An error as readiness names it: its kind, and its reason."""
    return f"{type(error).__name__}: {error.message}" if error.message else type(error).__name__
