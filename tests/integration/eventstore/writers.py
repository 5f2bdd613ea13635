"""Five writers of a few streams, as a process: `python -m tests.integration.eventstore.writers URL SECONDS SEED`.

One transaction in ten is slow: it stays open for a while after it has appended. One in ten is rolled back. Writes
`ready`, waits for a line, and in the end writes the ids of the events that were committed.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from uuid import UUID

from freehold.conformance.events_order import new_event
from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, Unavailable
from freehold.eventstore.store import EVENTS, Append
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores

__all__ = ["WRITERS"]

WRITERS = 5
_STREAMS = [f"{category}-{number}" for number in range(40) for category in ("order", "cart", "visit")]
_TYPES = ("a.one", "a.two", "a.three")


class _TakenBack(Exception):
    pass


async def _write(stores: Stores, until: float, seed: int, slow_seconds: float) -> list[UUID]:
    chance = random.Random(seed)
    committed: list[UUID] = []
    while time.monotonic() < until:
        appends = [
            Append(stream, [new_event(b"x" * 100, chance.choice(_TYPES)) for _ in range(chance.randint(1, 3))])
            for stream in chance.sample(_STREAMS, chance.randint(1, 2))
        ]
        kind = chance.random()
        try:
            async with stores.database.begin() as db_tx:
                await stores[EVENTS].append(db_tx, appends)
                if kind < 0.1:
                    await asyncio.sleep(chance.uniform(0.2, 1.0) * slow_seconds)  # a slow transaction, not a wait
                elif kind < 0.2:
                    raise _TakenBack
        except (_TakenBack, ConcurrencyConflict, Unavailable):
            continue
        committed += [event.id for each in appends for event in each.events]
    return committed


async def _main(url: str, seconds: float, seed: int) -> None:
    stores = open_stores(url, DatabaseOptions(pool_size=WRITERS))
    await stores.database.open()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    slow_seconds = 0.3 if stores.database.features.concurrent_writers else 0.03
    until = time.monotonic() + seconds
    found = await asyncio.gather(*(_write(stores, until, seed * 100 + n, slow_seconds) for n in range(WRITERS)))
    await stores.database.close()
    sys.stdout.write("\n".join(str(each) for committed in found for each in committed))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
