"""The stream of messages: made where it is missing, and made again where it has vanished. Adapter: imports the broker
port and its package.

A server that comes back with an empty disk has neither messages nor groups' records. Whoever meets that first makes the
stream again, once for all who wait in this process; other processes find what it made. Each process says in its log
what was lost, and the stream itself says in whose place it was made. Records are made again by members.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Collection, Mapping
from typing import Any, Final

from freehold.adapters.nats.connection import NatsConnection
from freehold.adapters.nats.errors import ApiError
from freehold.adapters.nats.identity import LogIdentity, read_identity
from freehold.adapters.nats.names import Layout, Names
from freehold.adapters.nats.streams import ensure_stream
from freehold.broker import BrokerOptions
from freehold.clock import Clock
from freehold.errors import ConfigurationError, LogReplaced, Unavailable

__all__ = ["LogStream"]

_log = logging.getLogger("freehold.nats")
_NOTICE_SECONDS: Final = 600.0
_FAILED_SECONDS: Final = 0.25
"""For so long after a failure nobody tries again: all who meet it are told the same."""
_WENT_BACK: Final = "NATS has an older copy of the stream"


class LogStream:
    """What is known of the stream of messages, and what makes it. Used by many tasks at once."""

    def __init__(self, connection: NatsConnection, names: Names, options: BrokerOptions, clock: Clock) -> None:
        self._connection = connection
        self._names = names
        self._options = options
        self._clock = clock
        self._made_at = ""
        self._in_doubt = False
        self._mending: asyncio.Task[None] | None = None
        self._failure: tuple[float, Unavailable] | None = None
        self._noticed_at = -math.inf
        self._noticed = ""
        self._went_back = False
        self.reached = 0
        """The highest number under which this process has seen a message stored in this stream."""
        self.layout: Layout = names.layout(options.partitions)

    @property
    def notice(self) -> str:
        """What was lost lately, or why it cannot be made again; empty for nothing."""
        if self._failure is not None:
            return f"NATS has lost its stream, which is not made again: {self._failure[1].message}"
        seconds = self._clock.monotonic() - self._noticed_at
        return f"{self._noticed}, {seconds:.0f} s ago" if seconds < _NOTICE_SECONDS else ""

    async def make(self) -> None:
        """Make what is missing, at first. Raises `Unavailable`, `ConfigurationError`."""
        try:
            await self._make()
        except ApiError as error:
            raise ConfigurationError("JetStream does not make the stream", hint=error.message) from error
        # From the break on, and not from the reconnection: the client takes messages before it tells of that.
        self._connection.on_broken.append(self._doubt)

    async def sure(self) -> None:
        """After a connection broke, have another look before anything is stored: the server may be another one. Who
        comes while somebody looks waits for what is found.

        Raises `Unavailable`.
        """
        if self._in_doubt or self._is_mending:
            await self.mend()

    def check(self, log: str) -> None:
        """See that the stream is the one expected, as far as is known; empty: any will do. Raises `LogReplaced`: for
        one that has lost its end once, and what comes then goes into what is left.
        """
        if log not in {"", self._made_at}:
            raise LogReplaced("NATS has another stream than before", hint="the service looks at it again")
        if log and self._went_back:
            self._went_back = False
            raise LogReplaced(_WENT_BACK, hint="the service notes a loss", went_back=True)

    def stored(self, numbers: Collection[int], before: int) -> bool:
        """Note under which numbers messages were stored, that were sent when it had reached `before`. False: a number
        was given twice, so that the stream is another one, or an older copy.
        """
        if not numbers:
            return True
        if min(numbers) <= before:
            self.reached, self._in_doubt = max(numbers), True
            return False
        self.reached = max(self.reached, *numbers)
        return True

    async def look(self) -> LogIdentity:
        """Read which log it is. Raises `StreamGone`, `Unavailable`."""
        before = self.reached
        identity = await read_identity(self._connection, self._names)
        self._compare(identity.made_at, identity.last, before)
        self._note(identity.made_at, identity.layout, "made again by another process")
        return identity

    async def mend(self) -> None:
        """Make again what has vanished: once for all who call meanwhile. Raises `Unavailable`, in bounded time."""
        if (mending := self._mending) is None or mending.done():
            if self._failure is not None and self._clock.monotonic() - self._failure[0] < _FAILED_SECONDS:
                raise Unavailable(self._failure[1].message, hint=self._failure[1].hint)
            mending = self._mending = asyncio.create_task(self._mend(), name="mending the stream of NATS")
        await asyncio.shield(mending)

    @property
    def _is_mending(self) -> bool:
        return self._mending is not None and not self._mending.done()

    async def close(self) -> None:
        """End what is in progress. Never raises."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait({self._mending})

    def _doubt(self) -> None:
        self._in_doubt = True

    async def _mend(self) -> None:
        self._in_doubt = False
        try:
            await self._make()
        except (ApiError, ConfigurationError) as error:
            told = Unavailable("NATS does not make the stream again", hint=error.message)
            self._fail(told)
            raise told from error
        except Unavailable as error:
            self._fail(error)
            raise
        self._failure = None

    def _fail(self, error: Unavailable) -> None:
        self._in_doubt = True
        # An outage is told as such elsewhere.
        self._failure = (self._clock.monotonic(), error) if self._connection.connected else None

    async def _make(self) -> None:
        # As many partitions as before: publishers and members that have not noticed yet count with them.
        config = self._names.log_config(self._options.retention_seconds, self.layout.partitions, self._made_at)
        before = self.reached
        found, made = await ensure_stream(self._connection, config)
        made_at, layout = str(found["created"]), Layout.read(found["config"])
        if self._made_at not in {"", made_at, layout.replaces}:
            await self._tell_what_it_replaces(found["config"], layout)
        self._compare(made_at, int(found["state"]["last_seq"]), before)
        self._note(made_at, layout, "made again" if made else "made again by another process")

    async def _tell_what_it_replaces(self, config: Mapping[str, Any], layout: Layout) -> None:
        """Whoever made it did not know of the one before: a process that had just started."""
        description = self._names.description(layout.partitions, self._made_at)
        with contextlib.suppress(ApiError, Unavailable):
            await self._connection.ask(f"STREAM.UPDATE.{self._names.log}", {**config, "description": description})

    def _compare(self, made_at: str, last: int, before: int) -> None:
        """See whether the stream has gone back; `before` is how far it had come when the server was asked."""
        if self._made_at != made_at:
            self.reached, self._went_back = 0, False
        elif last < before:
            self.reached, self._went_back = last, True

    def _note(self, made_at: str, layout: Layout, what: str) -> None:
        if self._made_at not in {"", made_at}:
            _log.warning(
                "NATS has lost the stream %s of %s: %s, empty, at %s; what it had confirmed and not delivered is gone",
                self._names.log,
                self._made_at,
                what,
                made_at,
            )
            self._say(f"NATS has lost its messages: the stream was {what}")
        self._made_at, self.layout = made_at, layout

    def _say(self, noticed: str) -> None:
        self._noticed, self._noticed_at = noticed, self._clock.monotonic()
