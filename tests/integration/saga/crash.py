"""A service that charges by a call and writes in its hooks, in processes that end themselves at points of a saga.

python -m tests.integration.saga.crash DATABASE-URL LEDGER

For each point, and once without any, a process is forked from one that has imported everything. It starts the saga
that is named like the point, and goes on with those that other processes left. How it ended is printed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text
from tests.integration.saga.life import live

from freehold.ids import derive_id
from freehold.migrations import Migration
from freehold.policy import Retry
from freehold.runtime import RunningService
from freehold.saga import CallContext, Saga, SagaRunner, call, local
from freehold.saga.calls import Calls
from freehold.saga.handover import PendingCall
from freehold.saga.store import SAGAS, TERMINAL_STATUSES
from freehold.service import Service
from freehold.settings import Settings
from freehold.transaction import Transaction

POINTS = (
    "handed-over",
    "chained",
    "before-effect",
    "after-effect",
    "recorded",
    "in-function",
    "in-hook",
    "failed",
    "settled",
)
"""In the order in which a life passes them. `handed-over` is behind the commit of the start, whose call has not begun;
`chained` is behind the commit of an outcome and of the intention of the call that follows, which has not begun;
`failed` is behind the commit that puts a failing hook down.
"""
TABLE = Migration("001-done", {"": ["CREATE TABLE done (what text NOT NULL)"]})
FAST = Retry(attempts=5, delay_seconds=0.05)
ledger = Path("unset")
point = ""


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str
    paid: str | None = None


def saga_id(name: str) -> UUID:
    return derive_id("crash", name)


def passing(here: str, saga: UUID | str) -> None:
    """End this process where it was told to, in its own saga alone."""
    if here == point and saga in {point, saga_id(point)}:
        os.kill(os.getpid(), signal.SIGKILL)


def enter(line: str) -> None:
    with ledger.open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


async def label(state: Order, context: CallContext) -> None:
    enter(f"{state.order_id} label {context.idempotency_key}")


async def pack(state: Order, context: CallContext) -> None:
    enter(f"{state.order_id} pack {context.idempotency_key}")


async def charge(state: Order, context: CallContext) -> dict[str, str]:
    passing("before-effect", state.order_id)
    enter(f"{state.order_id} charge {context.idempotency_key}")
    passing("after-effect", state.order_id)
    return {"paid": "yes"}


async def refund(state: Order, context: CallContext) -> None:
    enter(f"{state.order_id} refund {context.idempotency_key}")


async def write(state: Order, tx: Transaction) -> None:
    await tx.connection.execute(text("INSERT INTO done (what) VALUES (:what)"), {"what": f"{state.order_id} write"})
    passing("in-function", state.order_id)


async def completed(state: Order, tx: Transaction) -> None:
    await tx.connection.execute(text("INSERT INTO done (what) VALUES (:what)"), {"what": f"{state.order_id} completed"})
    passing("in-hook", state.order_id)
    if state.order_id == point == "failed":
        raise ValueError


class Crashing(Saga[Order], name="orders.crashing", key="order_id", hook_retry=FAST):
    label = call(label, no_compensation=True, timeout_seconds=1, retry=FAST)
    pack = call(pack, no_compensation=True, after=label, timeout_seconds=1, retry=FAST)
    charge = call(charge, compensation=refund, after=pack, timeout_seconds=1, retry=FAST)
    write = local(write, no_compensation=True, after=charge)
    on_completed = completed


orders = Service("orders", migrations=[TABLE])
orders.orchestrates(Crashing)


def _kill_before_calls() -> None:
    real = Calls.make

    def make(self: Calls, calls: Sequence[PendingCall]) -> None:
        for pending in calls:
            passing({"label": "handed-over", "pack": "chained"}.get(pending.effect.step, ""), pending.saga_id)
        real(self, calls)

    Calls.make = make  # type: ignore[method-assign] # the process ends there


def _kill_around(name: str, before: str, after: str) -> None:
    real: Callable[..., Awaitable[Any]] = getattr(SagaRunner, name)

    async def around(self: SagaRunner, saga: UUID, *arguments: object) -> object:
        passing(before, saga)
        result = await real(self, saga, *arguments)
        passing(after, saga)
        return result

    setattr(SagaRunner, name, around)


async def main(url: str) -> None:
    _kill_before_calls()
    _kill_around("_continue", "recorded", "settled")
    _kill_around("_record_failure", "", "failed")
    settings = Settings.load("orders", environ={}, database=url, broker="memory://")
    async with RunningService(orders, settings, roles=("sagas",)) as running:
        if point:
            async with running.transaction() as tx:
                await running.sagas.start(tx, Crashing, Order(point), saga_id=saga_id(point))
        while not all(status in TERMINAL_STATUSES for _, status in await running.stores[SAGAS].count()):
            await running.context.clock.sleep(0.02)


if __name__ == "__main__":
    ledger = Path(sys.argv[2])
    for point in (*POINTS, ""):
        sys.stdout.write(f"{point} {live(partial(main, sys.argv[1]))}\n")
