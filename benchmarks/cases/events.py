"""Events appended to streams of their own, one in each transaction. Imports Freehold's public names.

Figures: transactions a second. It fails unless the store has as many events.
"""

from __future__ import annotations

import asyncio
import gc
import time

from benchmarks.cases import declared, program
from benchmarks.cases.conditions import Conditions, expect, given, print_figures

from freehold import RunningService
from freehold.eventstore import EVENTS


async def measure(conditions: Conditions) -> dict[str, float]:
    """Append for so long."""
    count = 0
    settings = declared.settings("bench", conditions.databases[0], conditions)
    async with RunningService(declared.publisher(), settings, roles=(), connects=False) as running:
        gc.collect()
        gc.freeze()  # as `freehold.run` does
        until = time.monotonic()

        async def work() -> None:
            nonlocal count
            while time.monotonic() < until:
                count += 1
                key = f"order-{count}"
                async with running.transaction() as tx:
                    tx.append(f"order-{key}", declared.Placed(key, count, declared.TEXT))

        rate = 0.0
        for seconds in (0.3, conditions.seconds):  # the first time opens connections, and prepares statements
            began, before = time.monotonic(), count
            until = began + seconds
            await asyncio.gather(*(work() for _ in range(conditions.concurrency)))
            rate = (count - before) / (time.monotonic() - began)
        expect(await running.stores[EVENTS].high_water_mark(), count, "position of the last event")
    return {"per_second": rate}


if __name__ == "__main__":
    print_figures(program.run(measure(given())))
