"""A bounded pool that keeps connections open between transactions and reuses the last one first. Imports SQLAlchemy,
the errors, and its sibling `connection`.

SQLAlchemy's pool creates and recycles connections. To check one out and in for every transaction costs as much as a
statement. So connections stay checked out here, and return to SQLAlchemy only when they are old or not clean.
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
"""The number of connections above the pool's size; the SQLAlchemy engine must allow them as well."""

_reserved: ContextVar[bool] = ContextVar("freehold.reserved_connection", default=False)

T = TypeVar("T")


class PooledConnection(SqlConnection, Protocol):
    """A driver connection with explicit transactions. Its methods raise translated errors."""

    @property
    def broken(self) -> bool:
        """True where it must not be used again: it is closed, or its state is unknown."""

    @property
    def driver(self) -> Any:
        """The driver's own connection."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, as far as the driver knows; no round trip."""

    async def begin(self) -> None:
        """Begin a transaction, at once or with its first statement. Raises `Unavailable`."""

    def begin_now(self) -> None:
        """Send BEGIN if `begin` has left it to the first statement: the next one goes past this connection."""

    async def begin_known(self) -> None:
        """Have BEGIN answered where it was not: the driver itself is asked whether a transaction is open."""

    async def commit(self) -> None:
        """Commit. Raises `Unavailable` where the response is lost, `DatabaseError` where nothing was committed, and
        `TransactionMisused` where the transaction that was begun is no longer open.
        """

    async def rollback(self) -> None:
        """Roll back; never raises. Where it fails the connection becomes `broken`, and the engine rolls back."""

    async def abort(self) -> None:
        """Close the connection at once, without a message to the server."""

    def doubt(self) -> None:
        """Note that another connection of the pool was lost: `begin` finds out at once whether this one is alive."""

    async def remember(self) -> None:
        """Note the identity of the open transaction, so that the commit can check that it is still the same."""


@dataclass(slots=True)
class Pooled:
    """A connection that is kept between transactions.

    holder    keeps it checked out of SQLAlchemy's pool.
    since     the time when it was connected, by the monotonic clock.
    spent     it must not be used again.
    reserved  it was acquired for a health check.
    """

    holder: AsyncConnection
    sql: PooledConnection
    since: float
    spent: bool = False
    reserved: bool = False

    async def give_back(self) -> None:
        """Return the connection to SQLAlchemy's pool; a broken or spent one is closed."""
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
    """Within the block, acquire the reserved connection instead of a usual one: for a health check."""
    before = _reserved.set(True)
    try:
        yield
    finally:
        _reserved.reset(before)


class ConnectionPool:
    """The idle connections, and the number of those in use. `connect` opens a new one.

    One connection beyond `size` is reserved for health checks. When every other connection waits for a lock, a health
    check can still report it, because it does not wait in the same queue.
    """

    def __init__(self, connect: Callable[[], Awaitable[Pooled]], size: int, timeout_seconds: float) -> None:
        self._connect = connect
        self._size = size
        self._timeout_seconds = timeout_seconds
        self._places = {False: asyncio.Semaphore(size), True: asyncio.Semaphore(RESERVED)}
        self._idle: list[Pooled] = []
        self.used = 0
        """The number of connections that are acquired."""

    async def acquire(self) -> Pooled:
        """Return a connection that is not known to be broken. Raises `Unavailable` when none becomes free in time."""
        reserved = _reserved.get()
        places = self._places[reserved]
        await self._take_place(places)
        try:
            pooled = await self._usable()
        except BaseException:
            places.release()
            raise
        if reserved:  # what is asked here is whether the database works: a dead connection must not answer
            pooled.sql.doubt()
        pooled.reserved = reserved
        self.used += 1
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
        """Put a clean connection back among the idle ones; False where it is not clean and `release` must be called.

        It does not wait, so it cannot be cancelled and needs no task of its own (`uninterrupted`).
        """
        if not _is_clean(pooled):
            return False
        self._idle.append(pooled)
        self._release_place(pooled)
        return True

    async def release(self, pooled: Pooled) -> None:
        """Put a connection back; one that is not clean is closed."""
        try:
            if _is_clean(pooled):
                self._idle.append(pooled)
                return
            if pooled.sql.broken:
                for idle in self._idle:
                    idle.sql.doubt()
            await pooled.give_back()
        finally:
            self._release_place(pooled)

    @property
    def idle(self) -> int:
        """The number of connections that are open and not acquired."""
        return len(self._idle)

    def _release_place(self, pooled: Pooled) -> None:
        self.used -= 1
        self._places[pooled.reserved].release()

    async def close(self) -> None:
        """Return the idle connections to SQLAlchemy."""
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
    """Run `work` to its end even when this task is cancelled meanwhile; then raise the cancellation.

    For COMMIT and for the release of connections. `work` must have time limits of its own.
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
            task.exception()  # asyncio would log an exception that nobody has read
        raise cancellation
    return task.result()
