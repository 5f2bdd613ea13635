"""A session that holds a lock for each owner of leases in this process. Imports the ports, the leases and the driver.

The server releases a session's advisory locks when the session ends. That happens at once after the process was killed,
because its socket is closed. A frozen process keeps its session. When the session is lost although the process lives,
its owners look dead until it is opened again; fencing tokens make that harmless. Behind a proxy that pools transactions
sessions are shared, so this is not used there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from freehold.ids import stable_hash

__all__ = ["ApartConnection", "SessionLock", "SessionLocks", "lock_key"]

_log = logging.getLogger("freehold.leases")
_SECONDS: Final = 3.0
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.02
_LOOK_SECONDS: Final = 1.0
# The session is idle on purpose. Servers before 14 do not have this setting.
_STAY: Final = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"


@dataclass(frozen=True, slots=True)
class ApartConnection:
    """A connection outside of the pool, with its engine."""

    engine: AsyncEngine
    connection: AsyncConnection
    driver: asyncpg.Connection[Any]

    async def close(self) -> None:
        """Close the connection at once; the server then releases its locks. Never raises."""
        with contextlib.suppress(Exception):
            self.driver.terminate()
        for end in (self.connection.invalidate, self.connection.close, self.engine.dispose):
            with contextlib.suppress(Exception):
                await end()


_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Errors of a session that has ended; the last one where the server closed it between two statements."""


def lock_key(owner: str) -> int:
    """The number of an owner's advisory lock."""
    return stable_hash(f"freehold.alive.{owner}")


class SessionLock:
    """One owner's lock, held until `release`, or until the session ends."""

    def __init__(self, locks: SessionLocks, owner: str, driver: asyncpg.Connection[Any]) -> None:
        self._locks = locks
        self._owner = owner
        self._driver = driver

    async def is_valid(self) -> bool:
        """Whether the session that acquired the lock still exists; asks the server."""
        return await self._locks.is_valid(self._driver)

    @property
    def last(self) -> bool:
        """Whether nothing else in this process holds the owner's lock."""
        return self._locks.count(self._owner) <= 1

    async def release(self) -> None:
        """Release the lock; the session's lock ends with the last holder in this process."""
        await self._locks.release(self._owner, self._driver)


class SessionLocks:
    """The owners' locks of this process, in one session; it is opened for the first lock and closed after the last."""

    def __init__(self, connect: Callable[[], Awaitable[ApartConnection]]) -> None:
        self._connect = connect
        self._turn = asyncio.Lock()
        self._session: ApartConnection | None = None
        self._held: dict[str, int] = {}
        self._looked_at = 0.0

    async def hold(self, owner: str) -> SessionLock | None:
        """Acquire an owner's lock. None where no session can be opened, or another session has the lock."""
        async with self._turn:
            try:
                async with asyncio.timeout(_SECONDS):
                    driver = await self._driver()
                    if self._held.get(owner) or await self._lock(driver, owner):
                        self._held[owner] = self._held.get(owner, 0) + 1
                        return SessionLock(self, owner, driver)
            except Exception as error:  # noqa: BLE001 - after any error leases work without this: they expire by time
                text = "PostgreSQL: no session shows that this process lives (%s); its leases expire by time"
                _log.info(text, type(error).__name__)
                await self._drop()
            if not self._held:
                await self._drop()
            return None

    def count(self, owner: str) -> int:
        """How many holders of the owner's lock this process has."""
        return self._held.get(owner, 0)

    async def is_valid(self, driver: asyncpg.Connection[Any]) -> bool:
        """Whether this session still exists."""
        async with self._turn:
            if self._session is None or self._session.driver is not driver:
                return False
            now = asyncio.get_running_loop().time()
            if now - self._looked_at < _LOOK_SECONDS and not driver.is_closed():
                return True
            try:
                async with asyncio.timeout(_SECONDS):
                    await driver.fetchval("SELECT 1")
            except _LOST as error:
                text = "PostgreSQL: the session that shows that this process lives was lost (%s); opening it again"
                _log.warning(text, type(error).__name__)
                await self._drop()
                return False
            self._looked_at = now
            return True

    async def release(self, owner: str, driver: asyncpg.Connection[Any]) -> None:
        """Release one holder of an owner's lock, where it was acquired in this session."""
        async with self._turn:
            if self._session is None or self._session.driver is not driver:
                return
            self._held[owner] = self._held.get(owner, 1) - 1
            if self._held[owner] > 0:
                return
            del self._held[owner]
            with contextlib.suppress(*_LOST):
                async with asyncio.timeout(_SECONDS):
                    await driver.fetchval("SELECT pg_advisory_unlock($1)", lock_key(owner))
            if not self._held:
                await self._drop()

    async def _driver(self) -> asyncpg.Connection[Any]:
        if self._session is not None and self._session.driver.is_closed():
            await self._drop()
        if self._session is None:
            self._session = await self._connect()
            await self._session.driver.fetch(_STAY)
        return self._session.driver

    @staticmethod
    async def _lock(driver: asyncpg.Connection[Any], owner: str) -> bool:
        """Try to acquire the lock some times: a process that checks whether it is free holds it for a moment."""
        for _ in range(_TRIES):
            if await driver.fetchval("SELECT pg_try_advisory_lock($1)", lock_key(owner)):
                return True
            # The waiting form would also wait for another session that holds the lock until its end.
            await asyncio.sleep(_PAUSE_SECONDS)  # the check by the other process ends without a signal
        return False

    async def _drop(self) -> None:
        session, self._session = self._session, None
        self._held.clear()
        if session is not None:
            await session.close()
