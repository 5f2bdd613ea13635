"""Work that is done once for several waiters, and cancelled when nobody waits any more. Imports the foundation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from freehold.errors import Unavailable

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One piece of work that several tasks wait for. It begins at once. With `kept` it continues without waiters; its
    owner must `close` it.
    """

    def __init__(self, work: Coroutine[Any, Any, T], *, kept: bool = False) -> None:
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(_seen)
        self._kept = kept
        self._waiting = 0
        self._given_up = False

    @property
    def joinable(self) -> bool:
        """Whether `join` returns the result: the work is in progress or done, and not cancelled."""
        return not self._given_up

    async def join(self) -> T:
        """Wait for the result; raises the error of the work, and `Unavailable` if the owner closed it.

        A cancelled waiter does not affect the others; when the last one is cancelled, so is the work.
        """
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if self._given_up and self._task.cancelled():
                raise Unavailable("the work that this waited for was closed", hint="try again") from None
            raise
        finally:
            self._waiting -= 1
            if not self._waiting and not self._kept and not self._task.done():
                await self.close()

    async def close(self) -> None:
        """Cancel the work; returns when it has ended."""
        self._given_up = True
        self._task.cancel()
        await asyncio.wait({self._task})


def _seen(task: asyncio.Task[Any]) -> None:
    """Read the task's error, so that asyncio does not report it as never retrieved if there were no waiters."""
    if not task.cancelled():
        task.exception()
