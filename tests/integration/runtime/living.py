"""Processes that hold something, to be killed or frozen. `python -m`, with what they are to do.

`vouch URL OWNER` vouches for an owner, `fork URL OWNER` does so and leaves a child behind that has its files open,
`work DATABASE BROKER` runs the service `worker` with leases that outlast every test.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from tests.integration.runtime.workers import worker

from freehold import Settings, run
from freehold.broker import BrokerOptions
from freehold.leases.store import LEASES, Vouching
from freehold.runtime.adapters import open_stores

__all__ = ["LASTING_SECONDS", "lasting"]

LASTING_SECONDS = 600.0


def lasting(service: str, database: str, broker: str) -> Settings:
    """Settings with leases that no test waits for."""
    return Settings.load(
        service,
        environ={},
        database=database,
        broker=broker,
        broker_options=BrokerOptions(lease_seconds=LASTING_SECONDS),
        lease_seconds=LASTING_SECONDS,
    )


def _say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 - tells the test


def _live_on() -> None:
    """What a child does that nobody waits for."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    time.sleep(LASTING_SECONDS)
    os._exit(0)


async def _vouch(url: str, owner: str, *, fork: bool) -> None:
    stores = open_stores(url)
    await stores.database.open()
    leases = stores[LEASES]
    assert isinstance(leases, Vouching)
    vouch = await leases.vouch(owner)
    assert vouch is not None
    if fork and os.fork() == 0:
        _live_on()
    _say("ready")
    await asyncio.to_thread(sys.stdin.read)
    await vouch.release()
    await stores.database.close()


if __name__ == "__main__":
    what, first, second = sys.argv[1:]
    if what == "work":
        settings = {"worker": lasting("worker", first, second)}
        asyncio.run(run(worker, settings=settings, on_ready=lambda _: _say("ready")))
    else:
        asyncio.run(_vouch(first, second, fork=what == "fork"))
