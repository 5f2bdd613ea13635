"""Connections kept ready between transactions: bounded, the latest used first. Imports its siblings.

SQLAlchemy's pool makes and recycles connections. Checking one out and in for every transaction costs as much as a
statement, so those in use stay checked out here, and go back to SQLAlchemy only when they are old or no longer clean.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from freehold.adapters.sql.pool import Pooled, uninterrupted
from freehold.errors import Unavailable

__all__ = ["Units"]

_KEPT_SECONDS_MAX: Final = 600.0


class Units:
    """Connections that nobody uses just now, and how many are in use. `connect` makes one more."""

    def __init__(self, connect: Callable[[], Awaitable[Pooled]], size: int, timeout_seconds: float) -> None:
        self._connect = connect
        self._size = size
        self._timeout_seconds = timeout_seconds
        self._places = asyncio.Semaphore(size)
        self._idle: list[Pooled] = []

    async def take(self) -> Pooled:
        """Return a connection that seems alive. Raises `Unavailable` when none becomes free in time."""
        await self._take_place()
        try:
            while self._idle:
                pooled = self._idle.pop()
                if _is_clean(pooled):
                    return pooled
                await uninterrupted(pooled.give_back())
            for _ in range(self._size + 1):
                pooled = await self._connect()
                if not pooled.sql.broken:
                    return pooled
                await uninterrupted(pooled.give_back())
        except BaseException:
            self._places.release()
            raise
        self._places.release()
        raise Unavailable("every connection of the pool was lost", hint="the server may be restarting; try again")

    def give_at_once(self, pooled: Pooled) -> bool:
        """Take a connection back of which nothing is left open; false where `give` has to see to it.

        Nobody can be cancelled in here, which spares the task that seeing it through would take.
        """
        if not _is_clean(pooled):
            return False
        self._idle.append(pooled)
        self._places.release()
        return True

    async def give(self, pooled: Pooled) -> None:
        """Take a connection back."""
        try:
            if _is_clean(pooled):
                self._idle.append(pooled)
            else:
                await pooled.give_back()
        finally:
            self._places.release()

    async def close(self) -> None:
        """Give the idle ones back to SQLAlchemy."""
        idle, self._idle = self._idle, []
        for pooled in idle:
            await pooled.give_back()

    async def _take_place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"no connection became free within {self._timeout_seconds} s",
                hint="raise pool_size, or look for transactions that stay open",
            ) from error


def _is_clean(pooled: Pooled) -> bool:
    old = time.monotonic() - pooled.since > _KEPT_SECONDS_MAX
    return not (old or pooled.spent or pooled.sql.broken or pooled.holder.closed or pooled.holder.invalidated)
