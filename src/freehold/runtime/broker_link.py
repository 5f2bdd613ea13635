"""The way to the broker: a service starts without it, and comes to it as soon as it is there. Runtime.

What a broker has to fit is looked at when it has answered, since only then it is known. A broker that does not fit, or
refuses, is named as such, and is asked again, seldom: somebody may mend it.
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
    """Notices a broker that has lost its messages."""

    @property
    def notice(self) -> str:
        """What was lost; empty for nothing."""

    async def look(self) -> None:
        """Ask the broker. Raises `Unavailable`."""


class BrokerLink(Runner):
    """Opens a broker, at the latest a few seconds after it can be reached.

    check      looks whether an open broker fits; raises what does not.
    connected  is awaited once, when it does.
    watch      notices a broker that has lost its messages; asked when it comes up, and each few seconds from then on.
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
        """Whether the broker was reached and fits. It may be away again: ask it."""
        self.problem: FreeholdError | None = None
        """Why it is not up."""
        self._broker = broker
        self._check = check
        self._connected = connected
        self._watch = watch
        self._away = 0
        self._told_refusal = ""

    async def connect(self) -> None:
        """Try once. Raises what keeps it: `Unavailable`, or what will not mend by itself."""
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
        """Try until it is up; then see now and then that it was not closed for good, which a broker's server may do."""
        while not self.stopping:
            try:
                await (self._stay_up() if self.up else self._come_up())
            except FreeholdError as error:
                await self.wait(self._pause_seconds(error))
            else:
                self._away = 0
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
        """Whether the log is still the one it was; what does not answer is asked the next time."""
        if self._watch:
            with contextlib.suppress(Unavailable):
                await self._watch.look()

    async def _come_up(self) -> None:
        await self.connect()
        self._told_refusal = ""

    def _pause_seconds(self, error: FreeholdError) -> float:
        self._away += 1
        if not isinstance(error, Unavailable):
            if str(error) != self._told_refusal:
                self._told_refusal = str(error)
                name = self.outages.titled(self.name)
                _log.error("%s refuses: %s; it is asked again every %g s", name, error, _REFUSED_SECONDS)
            return _REFUSED_SECONDS
        self.waits_for(BROKER, error, again_seconds=TROUBLE.delay_seconds_max)
        return TROUBLE.after(self._away)
