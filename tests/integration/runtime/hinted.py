"""A service of which a test runs several processes: `python -m` with its settings as JSON. A process does what it
reads, line by line, and prints what it handled. What it must find by itself it finds only after half a minute.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from freehold import (
    CallContext,
    Projection,
    ProjectionContext,
    Retry,
    RunningService,
    Saga,
    Service,
    Settings,
    Transaction,
    call,
    event,
)
from freehold.errors import Unavailable
from freehold.leases.keeper import LeaseManager

__all__ = ["APP", "MENDED", "POLL_SECONDS", "till"]

APP = "tests.integration.runtime.hinted"
POLL_SECONDS = 30.0
MENDED = "HINTED_MENDED"
"""The variable that names a file; while it does not exist, messages are refused that begin with `bad`."""
till = Service("till", retry=Retry(attempts=1))


@event("till.rung", key="key")
class Rung:
    key: str


@dataclass(frozen=True, slots=True)
class Audit:
    key: str


def _say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 - tells the test


@till.handles(Rung)
async def ring(event: Rung, tx: Transaction) -> None:
    """Say what arrived, after the work is done."""
    if event.key.startswith("bad") and not Path(os.environ[MENDED]).exists():
        _say("refused", event.key)
        raise ValueError("planned")
    tx.staging.after_commit(lambda: _say("handled", event.key))


async def look(state: Audit, context: CallContext) -> None:
    """Say that the call was made."""
    _say("handled", state.key)


@till.orchestrates
class Audited(Saga[Audit], name="till.audited", key="key"):
    look = call(look, pivot=True, timeout_seconds=5)


_ROWS = sa.Table("rung", sa.MetaData(), sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False))
_projection = Projection("rung", tables=(_ROWS,))


@_projection.on(Rung)
async def rung(event: Rung, write: ProjectionContext) -> None:
    """Say that the read model shows it, most nearly."""
    await write.connection.execute(write.table(_ROWS).insert().values(position=write.recorded.position))
    _say("handled", event.key)


till.projects(_projection)


async def _do(running: RunningService, what: str, key: str) -> None:
    while what.endswith("-again"):
        try:
            await _do(running, what.removesuffix("-again"), key)
        except Unavailable:
            await asyncio.sleep(0.1)  # the server comes back without a signal
        else:
            return
    async with running.transaction() as tx:
        if what == "publish":
            tx.publish(Rung(key))
        elif what == "schedule":
            tx.schedule(Rung(key), delay_seconds=0.05)
        elif what == "audit":
            await Audited.start(tx, Audit(key))
        elif what == "append":
            tx.append(f"till-{key}", Rung(key))


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
    settings = Settings.load("till", environ={}, **{"poll_seconds": POLL_SECONDS, "lease_seconds": 2.0, **written})
    loop, lines = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with RunningService(till, settings, roles=roles) as running:
        telling = asyncio.create_task(_tell_state(running))
        while line := (await lines.readline()).decode().split():
            await _do(running, *line)
        telling.cancel()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
