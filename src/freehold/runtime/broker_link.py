"""The runner that connects a service to its broker: a service starts without it, and connects once it is reachable.
Runtime.

The checks of a broker run when it has answered. A broker that fails a check, or refuses the connection, is logged as
an error and tried again at long intervals: an operator may repair it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from freehold.broker import Broker
from freehold.clock import Clock
from freehold.errors import FreeholdError, Unavailable
from freehold.lifecycle import Runner
from freehold.outages import BROKER
from freehold.policy import TROUBLE

__all__ = ["BrokerLink", "BrokerWatch"]

_log = logging.getLogger("freehold.runtime")
_REFUSED_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 5.0


class BrokerWatch(Protocol):
    """Detects that a broker has lost messages."""

    @property
    def notice(self) -> str:
        """What was lost; empty for nothing."""

    async def look(self) -> None:
        """Ask the broker. Raises `Unavailable`."""


class BrokerLink(Runner):
    """Opens a broker, at the latest a few seconds after it becomes reachable.

    check      checks an open broker; raises what is wrong with it.
    connected  is awaited once, when the checks have passed.
    watch      detects that the broker has lost messages; asked when it is connected, and every few seconds after that.
    """

    needs = BROKER

    def __init__(
        self,
        service: str,
        broker: Broker,
        *,
        check: Callable[[], Awaitable[None]],
        connected: Callable[[], Awaitable[None]],
        clock: Clock,
        watch: BrokerWatch | None = None,
    ) -> None:
        super().__init__(f"broker of {service}", clock=clock)
        self.up = False
        """Whether the broker was reached and passed the checks. It may be unreachable again: `ping` it."""
        self.problem: FreeholdError | None = None
        """Why it is not up."""
        self._broker = broker
        self._check = check
        self._connected = connected
        self._watch = watch
        self._failures_in_a_row = 0
        self._logged_refusal = ""

    async def connect(self) -> None:
        """Try once. Raises the reason why it is not up: `Unavailable`, or an error that does not end by itself."""
        if self.up:
            return
        try:
            await self._broker.open()
            await self._check()
        except FreeholdError as error:
            self.problem = error
            raise
        await self._look()
        await self._connected()
        self.up, self.problem = True, None

    async def run(self) -> None:
        """Try until it is up. Then open it every few seconds, because the server may close a connection for good."""
        while not self.stopping:
            try:
                await (self._stay_up() if self.up else self._come_up())
            except FreeholdError as error:
                await self.wait(self._pause_seconds(error))
            else:
                self._failures_in_a_row = 0
                self.healthy()
                await self.wait(_LOOK_SECONDS)

    @property
    def notice(self) -> str:
        """Whether the broker has lost messages."""
        return self._watch.notice if self._watch else ""

    async def _stay_up(self) -> None:
        await self._broker.open()
        await self._look()

    async def _look(self) -> None:
        """Check whether the log was replaced. If the broker does not answer, it is asked the next time."""
        if self._watch:
            with contextlib.suppress(Unavailable):
                await self._watch.look()

    async def _come_up(self) -> None:
        await self.connect()
        self._logged_refusal = ""

    def _pause_seconds(self, error: FreeholdError) -> float:
        self._failures_in_a_row += 1
        if not isinstance(error, Unavailable):
            if str(error) != self._logged_refusal:
                self._logged_refusal = str(error)
                name = self.outages.titled(self.name)
                _log.error("%s refuses: %s; tried again every %g s", name, error, _REFUSED_SECONDS)
            return _REFUSED_SECONDS
        self.waits_for(BROKER, error, again_seconds=TROUBLE.delay_seconds_max)
        return TROUBLE.after(self._failures_in_a_row)
