"""A service of which a test runs several processes: `python -m` with its settings as JSON. A process does what it
reads, line by line, and prints what it handled. What it must find by itself it finds only after half a minute.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from freehold import Retry, RunningService, Service, Settings, Transaction, command, event
from freehold.leases.keeper import LeaseManager

__all__ = ["POLL_SECONDS", "till"]

POLL_SECONDS = 30.0
till = Service("till", retry=Retry(attempts=1))


@event("till.rung", key="key")
class Rung:
    key: str


@command("till.refuse", key="key")
class Refuse:
    key: str


_refusing = [True]


def _say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 - tells the test


@till.handles(Rung)
async def ring(event: Rung, tx: Transaction) -> None:
    """Say what arrived, after the work is done."""
    tx.staging.after_commit(lambda: _say("handled", event.key))


async def _do(running: RunningService, what: str, key: str) -> None:
    async with running.transaction() as tx:
        if what == "publish":
            tx.publish(Rung(key))
        elif what == "schedule":
            tx.schedule(Rung(key), delay_seconds=0.05)


async def _tell_state(running: RunningService) -> None:
    """Say how many outbox partitions are relayed here, and how many other processes are known, whenever it changes."""
    told = None
    while True:
        relays = [each for each in running.loops.running.get("relay", ()) if isinstance(each, LeaseManager)]
        state = sum(len(relay.tokens) for relay in relays), running.hints.peers
        if state != told:
            told = state
            _say("state", *state)
        await asyncio.sleep(0.02)  # neither signals its changes to a program


async def main(written: dict[str, Any]) -> None:
    """Run the roles that the settings name, until the end of the input."""
    roles = written.pop("roles", None)
    settings = Settings.load("till", environ={}, poll_seconds=POLL_SECONDS, lease_seconds=2.0, **written)
    loop, lines = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with RunningService(till, settings, roles=roles) as running:
        telling = asyncio.create_task(_tell_state(running))
        while line := (await lines.readline()).decode().split():
            await _do(running, *line)
        telling.cancel()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
