"""A connection of our own pool: statements, and the transaction around them. Imports the ports and the foundation.

SQLAlchemy's pool keeps the connections, so that the user's `AsyncConnection` and Freehold's statements share one driver
connection and one transaction. The transaction is ours: SQLAlchemy is in autocommit mode and begins and ends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.adapters.sql.connection import SqlConnection

__all__ = ["ForeignUnit", "OwnUnit", "PooledConnection", "uninterrupted"]

T = TypeVar("T")


class PooledConnection(SqlConnection, Protocol):
    """A driver connection with explicit transactions. All raise diagnosed errors."""

    @property
    def broken(self) -> bool:
        """True where it must not be used again: closed, or in an unknown state."""

    async def begin(self) -> None:
        """Begin a transaction. Raises `Unavailable`."""

    async def commit(self) -> None:
        """Commit. Raises `Unavailable` where the answer is lost, `DatabaseError` where nothing was committed."""

    async def rollback(self) -> None:
        """Roll back; never raises: where it cannot be done the connection is `broken`, and the engine rolls back."""

    async def abort(self) -> None:
        """Cut the connection off without asking the other side."""


@dataclass(frozen=True, slots=True)
class OwnUnit:
    """A unit of work that Freehold ends. `since` is when it was connected, by the monotonic clock."""

    native: AsyncConnection
    sql: PooledConnection
    since: float
    owned: bool = True

    async def give_back(self) -> None:
        """Return the connection to the pool, or drop it where it is broken."""
        if self.sql.broken:
            await self.sql.abort()
            await self.native.invalidate()
        await self.native.close()


@dataclass(frozen=True, slots=True)
class ForeignUnit:
    """A unit of work that the user ends."""

    native: Any
    sql: SqlConnection
    owned: bool = False


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Do the work to its end although this task is cancelled meanwhile, then raise the cancellation.

    The work must have time limits of its own. For COMMIT and for giving connections back.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as forgotten
        raise cancellation
    return task.result()
