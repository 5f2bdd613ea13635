"""A transaction that Freehold begins and ends, on a connection of its pool. Imports SQLAlchemy, the foundation, the SQL
base's `handles`, and its sibling `pool`.

SQLAlchemy's pool keeps the connections, so that the user's `AsyncConnection` and Freehold's statements share one driver
connection and one transaction. The transaction is ours: SQLAlchemy is in autocommit mode and begins and ends nothing.
What a transaction works with is made for it, and refuses after its end: see `handles`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Session

from freehold.adapters.sql.engine.pool import Pooled
from freehold.adapters.sql.handles.connection import TransactionHandle, lend
from freehold.adapters.sql.handles.driver import DriverProxy
from freehold.adapters.sql.handles.guard import Guard, GuardedSql
from freehold.adapters.sql.handles.sessions import JoinedSessions, listen
from freehold.life import Life

__all__ = ["OwnedTransaction"]

listen()


class OwnedTransaction:
    """A database transaction that Freehold ends. What it gives out belongs to it alone, and refuses after its end."""

    __slots__ = ("_native", "_sessions", "guard", "life", "pooled", "sql")

    owned = True

    def __init__(self, pooled: Pooled) -> None:
        self.pooled = pooled
        self.life = Life()
        self.guard = Guard(self.life, pooled.sql.is_in_transaction)
        self.sql = GuardedSql(self.guard, pooled.sql)
        self._native: TransactionHandle | None = None
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
