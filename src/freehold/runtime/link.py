"""The way to the broker: a service starts without it, and comes to it as soon as it is there. Runtime.

What a broker has to fit is looked at when it has answered, since only then it is known. A broker that does not fit, or
refuses, is named as such, and is asked again, seldom: somebody may mend it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from freehold.broker import Broker
from freehold.clock import Clock
from freehold.errors import FreeholdError, Unavailable
from freehold.lifecycle import Runner
from freehold.policy import Retry, RetryAfter

__all__ = ["BrokerLink"]

_log = logging.getLogger("freehold.runtime")
_AWAY: Final = Retry(attempts=2**31, delay_seconds=0.1, delay_seconds_max=5.0)
_REFUSED_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 5.0


class BrokerLink(Runner):
    """Opens a broker, at the latest a few seconds after it can be reached.

    check      looks whether an open broker fits; raises what does not.
    connected  is awaited once, when it does.
    """

    def __init__(
        self,
        service: str,
        broker: Broker,
        *,
        check: Callable[[], None],
        connected: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        super().__init__(f"broker of {service}", clock=clock)
        self.up = False
        """Whether the broker was reached and fits. It may be away again: ask it."""
        self.problem: FreeholdError | None = None
        """Why it is not up."""
        self._broker = broker
        self._check = check
        self._connected = connected
        self._away = 0

    async def connect(self) -> None:
        """Try once. Raises what keeps it: `Unavailable`, or what will not mend by itself."""
        if self.up:
            return
        try:
            await self._broker.open()
            self._check()
        except FreeholdError as error:
            self.problem = error
            raise
        await self._connected()
        self.up, self.problem = True, None

    async def run(self) -> None:
        """Try until it is up; then see now and then that it was not closed for good, which a broker's server may do."""
        while not self.stopping:
            try:
                await (self._broker.open() if self.up else self._come_up())
            except FreeholdError as error:
                await self.wait(self._pause_seconds(error))
            else:
                self._away = 0
                self.healthy()
                await self.wait(_LOOK_SECONDS)

    async def _come_up(self) -> None:
        await self.connect()
        _log.info("%s is there", self.name)

    def _pause_seconds(self, error: FreeholdError) -> float:
        self._away += 1
        if not isinstance(error, Unavailable):
            _log.error("%s refuses: %s", self.name, error)
            return _REFUSED_SECONDS
        if self._away == 1:
            _log.warning("%s is away; what is published is kept and goes out when it is there (%s)", self.name, error)
        decision = _AWAY.decide(min(self._away, 64))
        return decision.delay_seconds if isinstance(decision, RetryAfter) else _AWAY.delay_seconds_max
