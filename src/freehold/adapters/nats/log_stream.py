"""The stream of messages: created if it is missing, and created again if it was lost. Adapter: imports the broker port
and its package.

A server that comes back with an empty disk has neither messages nor the records of groups. The first task that notices
this creates the stream again, once for all tasks of the process; other processes find the new stream. Each process
writes to its log what was lost, and the description of the stream names the stream that it replaces. The members of
groups create the records again.
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
"""During this time after a failure there is no new attempt: each caller gets the same error."""
_WENT_BACK: Final = "NATS has an older copy of the stream"


class LogStream:
    """The state of the stream of messages, as this process knows it. Used by many tasks at once.

    After the connection broke, the state is unverified: the server may be another one, or have an older copy of the
    stream. It is verified before anything is stored:

        t1  the connection breaks
        t2  the client reconnects, and accepts messages
        t3  a round trip later it calls `reconnected_cb`

    So the state becomes unverified at t1. At t3 a message of t2 would be in the other stream already.
    """

    def __init__(self, connection: NatsConnection, names: Names, options: BrokerOptions, clock: Clock) -> None:
        self._connection = connection
        self._names = names
        self._options = options
        self._clock = clock
        self._made_at = ""
        self._unverified = False
        self._repairing: asyncio.Task[None] | None = None
        self._failure: tuple[float, Unavailable] | None = None
        self._noticed_at = -math.inf
        self._noticed = ""
        self._went_back = False
        self.reached = 0
        """The highest number under which this process has seen a message stored in this stream."""
        self.layout: Layout = names.layout(options.partitions)

    @property
    def notice(self) -> str:
        """What was lost in the last ten minutes, or why it cannot be created again; empty for nothing."""
        if self._failure is not None:
            return f"NATS has lost its stream, which is not made again: {self._failure[1].message}"
        seconds = self._clock.monotonic() - self._noticed_at
        return f"{self._noticed}, {seconds:.0f} s ago" if seconds < _NOTICE_SECONDS else ""

    async def make(self) -> None:
        """Create the stream where it is missing, at the start. Raises `Unavailable`, `ConfigurationError`."""
        try:
            await self._make()
        except ApiError as error:
            raise ConfigurationError("JetStream does not make the stream", hint=error.message) from error
        self._connection.on_broken.append(self._distrust)

    async def verify(self) -> None:
        """Verify the stream after a connection broke; a check in progress is waited for. Raises `Unavailable`."""
        if self._unverified or self._is_repairing:
            await self.repair()

    def check(self, log: str) -> None:
        """Check that the stream is the expected one, as far as is known; an empty `log` accepts any. Raises
        `LogReplaced`. For a stream that lost its newest messages it is raised once; later calls accept what is left.
        """
        if log not in {"", self._made_at}:
            raise LogReplaced("NATS has another stream than before", hint="the service looks at it again")
        if log and self._went_back:
            self._went_back = False
            raise LogReplaced(_WENT_BACK, hint="the service notes a loss", went_back=True)

    def stored(self, numbers: Collection[int], before: int) -> bool:
        """Note the numbers of stored messages, which were sent when the stream had reached `before`. False: a number
        was given twice, so the stream is another one, or an older copy.
        """
        if not numbers:
            return True
        if min(numbers) <= before:
            self.reached, self._unverified = max(numbers), True
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

    async def repair(self) -> None:
        """Create the stream again if it was lost, once for all callers. Raises `Unavailable`, in bounded time."""
        if (mending := self._repairing) is None or mending.done():
            if self._failure is not None and self._clock.monotonic() - self._failure[0] < _FAILED_SECONDS:
                raise Unavailable(self._failure[1].message, hint=self._failure[1].hint)
            mending = self._repairing = asyncio.create_task(self._repair(), name="repairing the stream of NATS")
        await asyncio.shield(mending)

    @property
    def _is_repairing(self) -> bool:
        return self._repairing is not None and not self._repairing.done()

    async def close(self) -> None:
        """End what is in progress. Never raises."""
        if self._repairing is not None:
            self._repairing.cancel()
            await asyncio.wait({self._repairing})

    def _distrust(self) -> None:
        self._unverified = True

    async def _repair(self) -> None:
        self._unverified = False
        try:
            await self._make()
        except (ApiError, ConfigurationError) as error:
            outage = Unavailable("NATS does not make the stream again", hint=error.message)
            self._fail(outage)
            raise outage from error
        except Unavailable as error:
            self._fail(error)
            raise
        self._failure = None

    def _fail(self, error: Unavailable) -> None:
        self._unverified = True
        # While the connection is down, the outage itself is reported elsewhere.
        self._failure = (self._clock.monotonic(), error) if self._connection.connected else None

    async def _make(self) -> None:
        # As many partitions as before: publishers and members that have not noticed the loss still use that number.
        config = self._names.log_config(self._options.retention_seconds, self.layout.partitions, self._made_at)
        before = self.reached
        found, made = await ensure_stream(self._connection, config)
        made_at, layout = str(found["created"]), Layout.read(found["config"])
        if self._made_at not in {"", made_at, layout.replaces}:
            await self._record_replaced(found["config"], layout)
        self._compare(made_at, int(found["state"]["last_seq"]), before)
        self._note(made_at, layout, "made again" if made else "made again by another process")

    async def _record_replaced(self, config: Mapping[str, Any], layout: Layout) -> None:
        """Name the former stream in the description: the process that created this one did not know it."""
        description = self._names.description(layout.partitions, self._made_at)
        with contextlib.suppress(ApiError, Unavailable):
            await self._connection.ask(f"STREAM.UPDATE.{self._names.log}", {**config, "description": description})

    def _compare(self, made_at: str, last: int, before: int) -> None:
        """Detect a stream that went back; `before` is the number that it had reached when the server was asked."""
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
