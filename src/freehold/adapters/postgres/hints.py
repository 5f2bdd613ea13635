"""Hints by NOTIFY and LISTEN of PostgreSQL. Adapter: imports the port, its package and the driver.

Hints have a connection of their own, one for each process that runs the service, and a transaction of their own: NOTIFY
in a business transaction would take a lock of the whole database until its commit. LISTEN belongs to a session, so it
does not pass a proxy that pools transactions; there is no channel then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from freehold.adapters.postgres.sessions import ApartConnection
from freehold.errors import Unavailable
from freehold.hints import HintLine
from freehold.ids import stable_hash

__all__ = ["PostgresHints", "channel_name"]

_SECONDS: Final = 5.0
_NAME_BYTES_MAX: Final = 63
# The session is idle on purpose; servers before 14 do not have the first setting. A hint is not worth an fsync.
_SETTINGS: Final = """
SELECT set_config(name, CASE name WHEN 'synchronous_commit' THEN 'off' ELSE '0' END, false)
FROM pg_settings WHERE name IN ('idle_session_timeout', 'synchronous_commit')"""


def channel_name(service: str, schema: str) -> str:
    """The name of a service's channel. Channels belong to a database, which services with schemas may share."""
    name = ".".join(filter(None, ("freehold", schema, service)))
    if len(name.encode()) <= _NAME_BYTES_MAX:
        return name
    return f"freehold.{stable_hash(name):x}"


class PostgresHints:
    """The channel of one service in its database."""

    def __init__(self, connect: Callable[[], Awaitable[ApartConnection]], channel: str) -> None:
        self._connect = connect
        self._channel = channel

    async def open(self, heard: Callable[[str], None]) -> HintLine:
        """Connect and listen. Raises `Unavailable`."""
        session: ApartConnection | None = None
        try:
            async with asyncio.timeout(_SECONDS):
                session = await self._connect()
                line = _Line(session, self._channel)
                await session.driver.fetch(_SETTINGS)
                await session.driver.add_listener(self._channel, lambda *heard_of: heard(str(heard_of[3])))
        except BaseException as error:
            if session is not None:
                await session.close()
            if isinstance(error, Exception):
                raise Unavailable(f"PostgreSQL cannot be listened to ({type(error).__name__})") from error
            raise
        return line


class _Line:
    """A session that listens."""

    def __init__(self, session: ApartConnection, channel: str) -> None:
        self._session = session
        self._channel = channel
        self._lost = asyncio.Event()
        session.driver.add_termination_listener(self._terminated)

    def _terminated(self, _: Any) -> None:
        self._lost.set()

    async def send(self, text: str) -> None:
        """Notify in a transaction of its own. Raises `Unavailable`; the line is lost then."""
        driver: asyncpg.Connection[Any] = self._session.driver
        try:
            await driver.execute("SELECT pg_notify($1, $2)", self._channel, text, timeout=_SECONDS)
        except Exception as error:
            self._lost.set()
            raise Unavailable(f"PostgreSQL does not take a hint ({type(error).__name__})") from error

    async def ended(self) -> None:
        """Return once the session has ended, or did not answer."""
        await self._lost.wait()

    async def close(self) -> None:
        """End the session."""
        self._session.driver.remove_termination_listener(self._terminated)
        await self._session.close()
