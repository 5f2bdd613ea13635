"""Sixty sagas of calls at once, in a process that ends itself after a number of calls, or behind a group's commit.

python -m tests.integration.saga.crowd DATABASE-URL LEDGER

A process for each of `LIVES`, forked from one that has imported everything. Each starts the sagas that are not there
yet, and goes on with the others. How it ended is printed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.integration.saga.crash import FAST, Order
from tests.integration.saga.life import live

from freehold.ids import derive_id
from freehold.runtime import RunningService
from freehold.saga import CallContext, Saga, call
from freehold.saga.calls import Calls
from freehold.saga.store import SAGAS, TERMINAL_STATUSES
from freehold.service import Service
from freehold.settings import Settings

NUMBER = 60
LIVES = ("calls:20", "groups:1", "calls:70", "groups:2", "end")
ledger = Path("unset")
left = {"calls": 0, "groups": 0}


def saga_id(number: int) -> UUID:
    return derive_id("crowd", number)


def count(what: str) -> None:
    """End this process at the last that it was told to see."""
    left[what] -= 1
    if left[what] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


async def ask(state: Order, context: CallContext) -> None:
    with ledger.open("a") as file:
        file.write(f"{context.saga_id} {context.step} {context.idempotency_key}\n")
        file.flush()
        os.fsync(file.fileno())
    count("calls")


class Asking(Saga[Order], name="orders.asking", key="order_id"):
    first = call(ask, no_compensation=True, timeout_seconds=1, retry=FAST)
    second = call(ask, no_compensation=True, after=first, timeout_seconds=1, retry=FAST)
    third = call(ask, no_compensation=True, after=second, timeout_seconds=1, retry=FAST)


orders = Service("orders")
orders.orchestrates(Asking)


def _end_behind_groups() -> None:
    real = Calls._record_together

    async def record(self: Calls, group: Sequence[Any]) -> Sequence[bool] | None:
        follows = await real(self, group)
        if len(group) > 1 and follows is not None:
            count("groups")
        return follows

    Calls._record_together = record  # type: ignore[method-assign] # the process ends there


async def main(url: str) -> None:
    _end_behind_groups()
    settings = Settings.load("orders", environ={}, database=url, broker="memory://")
    async with RunningService(orders, settings, roles=("sagas",)) as running:

        async def start(number: int) -> None:
            async with running.transaction() as tx:
                await running.sagas.start(tx, Asking, Order(str(number)), saga_id=saga_id(number))

        await asyncio.gather(*(start(number) for number in range(NUMBER)))
        while not all(status in TERMINAL_STATUSES for _, status in await running.stores[SAGAS].count()):
            await running.context.clock.sleep(0.02)


if __name__ == "__main__":
    ledger = Path(sys.argv[2])
    for place in LIVES:
        what, _, number = place.partition(":")
        left[what] = int(number or 0)
        sys.stdout.write(f"{place} {live(partial(main, sys.argv[1]))}\n")
        left[what] = 0
