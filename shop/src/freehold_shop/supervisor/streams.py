"""Makes the broker's streams as the operator, because services with accounts of their own have no right to make them.

It runs in a child process, because the supervisor has no event loop, and checks often, so that a broker that restarts
empty is usable again at once. Imports the composition root and the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from freehold import ConfigurationError, FreeholdError, Unavailable
from freehold.broker import BrokerOptions, Provisioning
from freehold.runtime import Runner, open_broker
from freehold_shop.supervisor.kernel import fork, kill_child

__all__ = ["StreamProvision", "Streams"]

_log = logging.getLogger("freehold_shop.supervisor")
_LOOK_SECONDS: Final = 0.5
_MAKE_SECONDS: Final = 15.0


class StreamProvision(Runner):
    """Checks twice a second whether all streams exist, and makes those that are missing."""

    def __init__(self, url: str, options: BrokerOptions, groups: Sequence[str]) -> None:
        super().__init__("streams of the broker")
        self._groups = groups
        self._broker = open_broker(url, options)

    async def run(self) -> None:
        """Check until stopped. While the broker is unavailable, try again soon."""
        while not self.stopping:
            try:
                await self.once()
                self.healthy()
            except FreeholdError as error:
                self.waits_for("broker", error, again_seconds=_LOOK_SECONDS)
            await self.wait(_LOOK_SECONDS)

    async def once(self) -> None:
        """Make the streams that are missing. Raises `Unavailable`, `ConfigurationError`."""
        if not isinstance(self._broker, Provisioning):
            raise ConfigurationError("this broker needs no streams to be made")
        await self._broker.open()
        await self._broker.provision(self._groups)

    async def close(self) -> None:
        """Close the connection. Never raises."""
        await self._broker.close()


@dataclass(slots=True)
class Streams:
    """The child process that makes streams. `make` is called first, before any service starts."""

    url: str
    options: BrokerOptions
    groups: Sequence[str]
    log: Path
    _pid: int = 0

    def make(self) -> None:
        """Make the streams that are missing, and return when they exist. Raises `Unavailable`."""
        _, status = os.waitpid(fork(lambda: _run(self._once()), self.log), 0)
        if status:
            raise Unavailable("the streams of the broker were not made", hint=f"see {self.log}")

    def revive(self) -> None:
        """Start the process, or restart it where it has ended."""
        with contextlib.suppress(ChildProcessError):
            if self._pid and os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                return
        self._pid = fork(lambda: _run(self._provision().run()), self.log)

    def stop(self) -> None:
        """Kill the process, which has nothing to clean up."""
        if self._pid:
            kill_child(self._pid)
        self._pid = 0

    def _provision(self) -> StreamProvision:
        return StreamProvision(self.url, self.options, self.groups)

    async def _once(self) -> None:
        try:
            async with asyncio.timeout(_MAKE_SECONDS):
                await self._provision().once()
        except TimeoutError as error:
            raise Unavailable(f"the broker's streams were not made within {_MAKE_SECONDS:g} s") from error


def _run(work: Coroutine[Any, Any, None]) -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        asyncio.run(work)
    except FreeholdError as error:
        _log.error("broker: %s; the streams are not made, and this process ends", error)
        return 1
    return 0
