"""A connection of our own pool: statements, and the transaction around them. Imports the ports and its siblings.

SQLAlchemy's pool keeps the connections, so that the user's `AsyncConnection` and Freehold's statements share one driver
connection and one transaction. The transaction is ours: SQLAlchemy is in autocommit mode and begins and ends nothing.
What a transaction works with is made for it, and refuses after its end: see `guard` and `lent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Session

from freehold.adapters.sql.connection import SqlConnection
from freehold.adapters.sql.driver import DriverProxy
from freehold.adapters.sql.guard import Guard, GuardedSql
from freehold.adapters.sql.sessions import JoinedSessions, listen
from freehold.adapters.sql.unit_connection import UnitHandle, lend
from freehold.life import Life

__all__ = ["OwnUnit", "Pooled", "PooledConnection", "uninterrupted"]

T = TypeVar("T")
listen()


class PooledConnection(SqlConnection, Protocol):
    """A driver connection with explicit transactions. All raise diagnosed errors."""

    @property
    def broken(self) -> bool:
        """True where it must not be used again: closed, or in an unknown state."""

    @property
    def driver(self) -> Any:
        """The driver's own connection."""

    def is_in_transaction(self) -> bool:
        """Whether the transaction is still there, as far as is known without asking."""

    async def begin(self) -> None:
        """Begin a transaction. Raises `Unavailable`."""

    async def commit(self) -> None:
        """Commit. Raises `Unavailable` where the answer is lost, `DatabaseError` where nothing was committed, and
        `TransactionMisused` where the transaction that was begun is not there any more.
        """

    async def rollback(self) -> None:
        """Roll back; never raises: where it cannot be done the connection is `broken`, and the engine rolls back."""

    async def abort(self) -> None:
        """Cut the connection off without asking the other side."""

    async def remember(self) -> None:
        """Note which transaction this is: the commit sees whether it is still the same."""


@dataclass(slots=True)
class Pooled:
    """A connection that is kept between transactions. `holder` keeps it checked out of SQLAlchemy's pool; `since` is
    when it was connected, by the monotonic clock; one that is `spent` is not used again.
    """

    holder: AsyncConnection
    sql: PooledConnection
    since: float
    spent: bool = False

    async def give_back(self) -> None:
        """Return the connection to the pool, or drop it where it is broken."""
        if self.sql.broken or self.spent:
            await self.sql.abort()
            await self.holder.invalidate()
        await self.holder.close()


class OwnUnit:
    """A unit of work that Freehold ends. What it gives out belongs to it alone, and refuses after its end."""

    __slots__ = ("_native", "_sessions", "guard", "life", "pooled", "sql")

    owned = True

    def __init__(self, pooled: Pooled) -> None:
        self.pooled = pooled
        self.life = Life()
        self.guard = Guard(self.life, pooled.sql.is_in_transaction)
        self.sql = GuardedSql(self.guard, pooled.sql)
        self._native: UnitHandle | None = None
        self._sessions: JoinedSessions | None = None

    @property
    def native(self) -> AsyncConnection:
        """SQLAlchemy's connection, made when it is first asked for. Raises `TransactionEnded`."""
        self.life.check()
        if self._native is None:
            self._native = lend(self)
        return self._native

    @property
    def holder(self) -> AsyncConnection:
        """What keeps the connection checked out of SQLAlchemy's pool."""
        return self.pooled.holder

    @property
    def driver(self) -> Any:
        """The driver's connection as users are given it. Raises `TransactionEnded`."""
        self.life.check()
        self.pooled.spent = self.guard.watched = True
        return DriverProxy(self.pooled.sql.driver, self.guard, self.sql)

    def join(self, session: Session) -> None:
        """Have a session flushed before the commit."""
        if self._sessions is None:
            self._sessions = JoinedSessions()
            self.life.add_writer(self._sessions)
        self._sessions.join(session)

    async def hand_out(self) -> None:
        """Note which transaction this is, before a driver object is in the hands of the user."""
        if not self.pooled.spent:
            self.pooled.spent = self.guard.watched = True
            await self.pooled.sql.remember()


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
