"""Work that several wait for at once: done once, and given up when nobody waits any more. Imports the foundation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from freehold.errors import Unavailable

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Begins at once. `kept` work goes on without anybody waiting; its owner must `close` it."""

    def __init__(self, work: Coroutine[Any, Any, T], *, kept: bool = False) -> None:
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(_seen)
        self._kept = kept
        self._waiting = 0
        self._given_up = False

    @property
    def joinable(self) -> bool:
        """Whether somebody who comes now gets the result: it is in progress, or done, and not given up."""
        return not self._given_up

    async def join(self) -> T:
        """The result, or what the work raised. Cancelled, the others wait on; the last one who leaves ends the work.

        Raises `Unavailable` where the owner closed it.
        """
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if self._given_up and self._task.cancelled():
                raise Unavailable("what this waited for was closed", hint="ask again") from None
            raise
        finally:
            self._waiting -= 1
            if not self._waiting and not self._kept and not self._task.done():
                await self.close()

    async def close(self) -> None:
        """Give the work up; returns when it has ended."""
        self._given_up = True
        self._task.cancel()
        await asyncio.wait({self._task})


def _seen(task: asyncio.Task[Any]) -> None:
    """An error that nobody waited for is nobody's: it must not be reported as forgotten."""
    if not task.cancelled():
        task.exception()
