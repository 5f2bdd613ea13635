"""A transaction that Freehold begins and ends, on a connection of its pool. Imports SQLAlchemy, the foundation, the SQL
base's `handles`, and its siblings `commit_text` and `pool`.

The user's `AsyncConnection` and Freehold's statements share one driver connection and one transaction. Freehold begins
and ends it: SQLAlchemy is in autocommit mode. The objects that user code gets are made for one transaction, and raise
after its end (see `handles`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Session

from freehold.adapters.sql.engine.commit_text import Closing
from freehold.adapters.sql.engine.pool import Pooled
from freehold.adapters.sql.handles.connection import TransactionHandle, lend
from freehold.adapters.sql.handles.driver import DriverProxy
from freehold.adapters.sql.handles.guard import Guard, GuardedSql
from freehold.adapters.sql.handles.sessions import JoinedSessions, listen
from freehold.life import Life

__all__ = ["OwnedTransaction"]

listen()


class OwnedTransaction:
    """A database transaction that Freehold ends. The objects that it returns belong to it alone, and raise after it.

    closing  takes statements that are sent with the COMMIT; None where the engine cannot do that.
    """

    __slots__ = ("_native", "_sessions", "closing", "guard", "life", "pooled", "sql")

    owned = True

    def __init__(self, pooled: Pooled, *, folds: bool = False) -> None:
        self.pooled = pooled
        self.life = Life()
        self.guard = Guard(self.life, pooled.sql.is_in_transaction)
        self.sql = GuardedSql(self.guard, pooled.sql)
        self.closing = Closing(self.guard.check) if folds else None
        self._native: TransactionHandle | None = None
        self._sessions: JoinedSessions | None = None

    @property
    def native(self) -> AsyncConnection:
        """SQLAlchemy's connection, made at the first access. Raises `TransactionEnded`."""
        self.life.check()
        if self._native is None:
            self.pooled.sql.begin_now()
            self._native = lend(self)
        return self._native

    @property
    def holder(self) -> AsyncConnection:
        """The object that keeps the connection checked out of SQLAlchemy's pool."""
        return self.pooled.holder

    @property
    def driver(self) -> Any:
        """The driver's connection in a guarding wrapper. Raises `TransactionEnded`."""
        self.life.check()
        self.pooled.sql.begin_now()
        self.pooled.spent = self.guard.watched = True
        return DriverProxy(self.pooled.sql.driver, self.guard, self.sql)

    def join(self, session: Session) -> None:
        """Flush this session before the commit."""
        if self._sessions is None:
            self._sessions = JoinedSessions()
            self.life.add_writer(self._sessions)
        self._sessions.join(session)

    async def begin_known(self) -> None:
        """Let the driver know of the transaction before it opens a cursor on the server."""
        await self.pooled.sql.begin_known()

    async def hand_out(self) -> None:
        """Note the identity of the transaction before user code gets a driver object, which could end it."""
        if not self.pooled.spent:
            self.pooled.spent = self.guard.watched = True
            await self.pooled.sql.remember()
