"""A connection of SQLAlchemy's pool, lent to one transaction. Imports SQLAlchemy, the database port, and its sibling
`guard`.

It refuses everything that ends a transaction or returns a connection to the pool. `connection` makes SQLAlchemy's
`Connection` on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from freehold.adapters.sql.handles.guard import ENDS_ITSELF, Guard
from freehold.sql import SqlConnection

__all__ = ["Lender", "LentConnection"]


class Lender(Protocol):
    """The database transaction that a connection is lent to."""

    @property
    def guard(self) -> Guard:
        """The guard of its statements."""

    @property
    def sql(self) -> SqlConnection:
        """The connection for its statements."""

    @property
    def holder(self) -> AsyncConnection:
        """The object that keeps the connection checked out of SQLAlchemy's pool."""

    async def begin_known(self) -> None:
        """Let the driver know of the transaction before it opens a cursor on the server."""

    async def hand_out(self) -> None:
        """Prepare the transaction before user code gets a driver object."""

    @property
    def driver(self) -> Any:
        """The driver's connection in a guarding wrapper."""

    def join(self, session: Session) -> None:
        """Flush this session before the commit."""


class LentConnection(PoolProxiedConnection):
    """A pooled connection that user code cannot close or return to the pool."""

    def __init__(self, db_tx: Lender, holder: Connection) -> None:
        self._db_tx = db_tx
        self._holder = holder
        self._fairy = holder.connection
        self.dbapi_connection = self._fairy.dbapi_connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fairy, name)

    @property
    def driver_connection(self) -> Any:  # type: ignore[override] # SQLAlchemy only reads this attribute
        """The driver's connection, in a wrapper that raises after the transaction's end."""
        if in_greenlet():
            await_only(self._db_tx.hand_out())
        return self._db_tx.driver

    @property
    def is_valid(self) -> bool:
        """Whether the connection can be used."""
        return self._fairy.is_valid

    @property
    def is_detached(self) -> bool:
        """Always False: it stays in the pool."""
        return False

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """A cursor of the driver; one on the server side checks the guard at each fetch."""
        self._db_tx.guard.life.check()
        if not kwargs.get("server_side"):
            return self._fairy.cursor(*args, **kwargs)
        await_only(self._db_tx.begin_known())
        return LentCursor(self._fairy.cursor(*args, **kwargs), self._db_tx.guard)

    def run_async(self, work: Callable[[Any], Any]) -> Any:
        """Call `work` with the driver's connection and await its result, as SQLAlchemy's adapters do."""
        return await_only(work(self.driver_connection))

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:  # noqa: FBT001, FBT002 - SQLAlchemy's
        """Close a failed connection, as SQLAlchemy does with its error; refused without one."""
        if e is None:
            self._refuse("invalidate()")
        self._holder.invalidate(e)

    def commit(self) -> None:
        """Refused."""
        self._refuse("commit()")

    def rollback(self) -> None:
        """Refused."""
        self._refuse("rollback()")

    def detach(self) -> None:
        """Refused."""
        self._refuse("detach()")

    def close(self) -> None:
        """Refused before the end; does nothing after it."""
        if self._db_tx.guard.life.is_open:
            self._refuse("close()")

    def _refuse(self, what: str) -> NoReturn:
        self._db_tx.guard.life.refuse(f"{what} of the driver's connection was called", ENDS_ITSELF)


class LentCursor:
    """A server-side cursor: it fetches rows while they are read. It raises after the transaction's end."""

    def __init__(self, inner: Any, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        """Run a statement."""
        return self._within(lambda: self._inner.execute(operation, parameters))

    def fetchone(self) -> Any:
        """The next row."""
        return self._within(self._inner.fetchone)

    def fetchmany(self, size: int | None = None) -> Any:
        """The next rows."""
        return self._within(lambda: self._inner.fetchmany(size))

    def fetchall(self) -> Any:
        """The remaining rows."""
        return self._within(self._inner.fetchall)

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        """Close the cursor; after the transaction's end it is closed already."""
        if self._guard.life.is_open:
            self._within(self._inner.close)

    def _within(self, work: Callable[[], Any]) -> Any:
        guard = self._guard
        guard.life.check()
        if not guard.take():
            await_only(guard.wait())
        try:
            return work()
        finally:
            guard.leave()
