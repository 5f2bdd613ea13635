"""The turn to fetch, which one worker of a consumer has at a time. Pattern: imports the foundation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from freehold.clock import Clock
from freehold.tasks import call_later

__all__ = ["Turn"]


class Turn:
    """A worker's turn. It lasts for the block, unless it is passed on before."""

    def __init__(self, gate: asyncio.Lock, clock: Clock) -> None:
        self._gate = gate
        self._clock = clock
        self._has = False
        self._forget: Callable[[], object] | None = None

    async def __aenter__(self) -> Self:
        """Wait for the turn."""
        await self._gate.acquire()
        self._has = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Pass the turn on, if that was not done."""
        self._pass()

    def pass_on(self, *, after_seconds: float) -> None:
        """Let another worker have the turn after some time, at once where it is 0."""
        if after_seconds > 0:
            self._forget = call_later(self._clock, after_seconds, self._pass)
        else:
            self._pass()

    def _pass(self) -> None:
        if self._forget is not None:
            self._forget()
            self._forget = None
        if self._has:
            self._has = False
            self._gate.release()
