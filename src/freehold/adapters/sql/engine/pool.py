"""Connections kept ready between transactions: bounded, the latest used first. Imports SQLAlchemy, the errors, and its
sibling `connection`.

SQLAlchemy's pool makes and recycles connections. Checking one out and in for every transaction costs as much as a
statement, so those in use stay checked out here, and go back to SQLAlchemy only when they are old or no longer clean.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.errors import Unavailable

__all__ = ["RESERVED", "ConnectionPool", "Pooled", "PooledConnection", "reserved_connection", "uninterrupted"]

_KEPT_SECONDS_MAX: Final = 600.0
RESERVED: Final = 1
"""Connections above the size of the pool: an engine has to let so many more be made."""

_reserved: ContextVar[bool] = ContextVar("freehold.reserved_connection", default=False)

T = TypeVar("T")


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
    when it was connected, by the monotonic clock; one that is `spent` is not used again. `reserved` says that it was
    acquired for a look at the database's health.
    """

    holder: AsyncConnection
    sql: PooledConnection
    since: float
    spent: bool = False
    reserved: bool = False

    async def give_back(self) -> None:
        """Return the connection to the pool, or drop it where it is broken."""
        try:
            if self.sql.broken or self.spent:
                try:
                    await self.sql.abort()
                finally:
                    await self.holder.invalidate()
        finally:
            await self.holder.close()


@contextmanager
def reserved_connection() -> Iterator[None]:
    """Acquire the reserved connection in here, whatever acquires one: for a look at the database's health."""
    before = _reserved.set(True)
    try:
        yield
    finally:
        _reserved.reset(before)


class ConnectionPool:
    """Connections that nobody uses just now, and how many are in use. `connect` makes one more.

    One place more than `size` is reserved for looks at the database's health: when every connection waits for the lock
    of somebody else, that look says so, and does not wait in the same queue.
    """

    def __init__(self, connect: Callable[[], Awaitable[Pooled]], size: int, timeout_seconds: float) -> None:
        self._connect = connect
        self._size = size
        self._timeout_seconds = timeout_seconds
        self._places = {False: asyncio.Semaphore(size), True: asyncio.Semaphore(RESERVED)}
        self._idle: list[Pooled] = []

    async def acquire(self) -> Pooled:
        """Return a connection that seems alive. Raises `Unavailable` when none becomes free in time."""
        reserved = _reserved.get()
        places = self._places[reserved]
        await self._take_place(places)
        try:
            pooled = await self._usable()
        except BaseException:
            places.release()
            raise
        pooled.reserved = reserved
        return pooled

    async def _usable(self) -> Pooled:
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
        raise Unavailable("every connection of the pool was lost", hint="the server may be restarting; try again")

    def release_nowait(self, pooled: Pooled) -> bool:
        """Take a connection back of which nothing is left open; false where `release` has to see to it.

        Nobody can be cancelled in here, which spares the task that seeing it through would take.
        """
        if not _is_clean(pooled):
            return False
        self._idle.append(pooled)
        self._places[pooled.reserved].release()
        return True

    async def release(self, pooled: Pooled) -> None:
        """Take a connection back."""
        try:
            if _is_clean(pooled):
                self._idle.append(pooled)
            else:
                await pooled.give_back()
        finally:
            self._places[pooled.reserved].release()

    async def close(self) -> None:
        """Give the idle ones back to SQLAlchemy."""
        idle, self._idle = self._idle, []
        for pooled in idle:
            await pooled.give_back()

    async def _take_place(self, places: asyncio.Semaphore) -> None:
        if not places.locked():
            await places.acquire()
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await places.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"no connection became free within {self._timeout_seconds} s",
                hint="raise pool_size, or look for transactions that stay open",
            ) from error


def _is_clean(pooled: Pooled) -> bool:
    old = time.monotonic() - pooled.since > _KEPT_SECONDS_MAX
    return not (old or pooled.spent or pooled.sql.broken or pooled.holder.closed or pooled.holder.invalidated)


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
