"""The gateway's time, slowed down: what takes long on a machine that does much else is not late."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace

import pytest

from freehold.clock import Clock
from freehold.composition import Budget, Composer
from freehold_shop.gateway import compositions

SLOWER = 20.0


class SlowClock(Clock):
    """A second of it takes twenty."""

    def now(self) -> datetime:
        """The wall's time, as ever."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of this clock."""
        return time.monotonic() / SLOWER

    async def sleep(self, seconds: float) -> None:
        """Wait, in seconds of this clock."""
        await asyncio.sleep(seconds * SLOWER)


def slow_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have gateways that are made from now on go by a slow clock: their budgets, limits and breakers."""
    clock = SlowClock()
    monkeypatch.setattr(compositions, "Composer", partial(Composer, clock=clock))
    monkeypatch.setattr(compositions, "Budget", SimpleNamespace(from_header=partial(Budget.from_header, clock=clock)))
