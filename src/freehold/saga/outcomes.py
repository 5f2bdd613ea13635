"""Group commit of the outcomes of calls. Pattern: imports nothing of its package.

An outcome that arrives while no other is being written is written at once. Those that arrive while a transaction is in
progress are written together in the next one. Nothing waits for more to arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

__all__ = ["OutcomeGroup"]

E = TypeVar("E")
R = TypeVar("R")
_GROUP_MAX: Final = 64


class OutcomeGroup(Generic[E, R]):
    """Writes entries in groups. `write` writes a group in one transaction, and returns a result for each, in order; it
    returns None where nothing of the group was written.
    """

    def __init__(self, write: Callable[[Sequence[E]], Awaitable[Sequence[R] | None]]) -> None:
        self._write = write
        self._waiting: list[tuple[E, asyncio.Future[R | None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, entry: E) -> R | None:
        """Write an entry in the next transaction. None: nothing was written, since an entry of its group failed; the
        caller writes it in a transaction of its own.
        """
        written: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all(), name="freehold:outcomes")
        return await written

    async def cancel(self) -> None:
        """Cancel the transaction in progress; those who wait get `CancelledError`."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait({self._writer})

    async def _write_all(self) -> None:
        group: list[tuple[E, asyncio.Future[R | None]]] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_GROUP_MAX], self._waiting[_GROUP_MAX:]
                group = [each for each in group if not each[1].done()]  # else nobody waits for it any more
                results = await self._write([entry for entry, _ in group]) if group else ()
                for place, (_, written) in enumerate(group):
                    if not written.done():
                        written.set_result(None if results is None else results[place])
        finally:
            self._writer = None
            for _, written in [*group, *self._waiting]:
                written.cancel()
