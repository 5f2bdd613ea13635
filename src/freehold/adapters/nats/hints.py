"""Hints by messages of core NATS, which no stream stores. Adapter: imports the port and its package.

A subject carries the hints of one service. All processes of a service connect as the same user, so a server with an
account for each service lets none of them hear another's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from freehold.adapters.nats.connection import NatsConnection
from freehold.errors import Unavailable
from freehold.hints import HintLine

__all__ = ["NatsHints"]


class NatsHints:
    """The channel of one service on the broker's connection. `connection` returns it, or raises `Unavailable`."""

    def __init__(self, connection: Callable[[], NatsConnection], subject: str) -> None:
        self._connection = connection
        self._subject = subject

    async def open(self, heard: Callable[[str], None]) -> HintLine:
        """Subscribe, and wait until the server knows it: it takes messages of other connections first otherwise, and
        they would not be heard. Raises `Unavailable` while the broker is not connected.
        """
        connection = self._connection()

        async def received(message: Msg) -> None:
            heard(message.data.decode(errors="replace"))

        line = _Line(connection, self._subject, await connection.subscribe(self._subject, received))
        try:
            await connection.round_trip()
        except BaseException:
            await line.close()
            raise
        return line


class _Line:
    """A subscription, until the connection breaks: the driver subscribes again, but does not say what was lost."""

    def __init__(self, connection: NatsConnection, subject: str, subscription: Subscription) -> None:
        self._connection = connection
        self._subject = subject
        self._subscription = subscription
        self._lost = asyncio.Event()
        connection.on_broken.append(self._lost.set)

    async def send(self, text: str) -> None:
        """Publish, without waiting for the server. Raises `Unavailable`; the line is lost then."""
        try:
            await self._connection.publish(self._subject, text.encode())
        except Unavailable:
            self._lost.set()
            raise

    async def ended(self) -> None:
        """Return once the connection broke."""
        await self._lost.wait()

    async def close(self) -> None:
        """End the subscription."""
        with contextlib.suppress(ValueError):
            self._connection.on_broken.remove(self._lost.set)
        with contextlib.suppress(Exception):
            await self._subscription.unsubscribe()
