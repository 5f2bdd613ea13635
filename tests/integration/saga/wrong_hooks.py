"""Sagas of which each hook can be made wrong, and the other side of their calls."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.integration.saga.bench import Bench, bench
from tests.unit.saga.shapes import ORDER, Capture, Hold, Notify, Order, Release, Reserve, Void

from freehold.policy import Retry
from freehold.saga import CallContext, Saga, call, local, step
from freehold.transaction import Transaction

__all__ = [
    "SOON",
    "Charging",
    "Commanding",
    "Shop",
    "charge",
    "charged",
    "confirm_order",
    "hooks_bench",
    "line_of",
    "merge_charge",
    "never",
    "refund",
    "shop",
    "unconfirm_order",
]

_ROOT = Path(__file__).parents[3]
SOON = Retry(attempts=3, delay_seconds=0.5, draw=lambda: 1.0)


@dataclass
class Shop:
    """The other side of the calls, and what is wrong with the code here."""

    charges: list[str] = field(default_factory=list)
    refunds: list[str] = field(default_factory=list)
    reply: object = None
    wrong: dict[str, BaseException] = field(default_factory=dict)
    ran: dict[str, int] = field(default_factory=dict)

    def at(self, place: str) -> None:
        self.ran[place] = self.ran.get(place, 0) + 1
        if place in self.wrong:
            raise self.wrong[place]


shop = Shop()


async def charge(state: Order, context: CallContext) -> object:
    shop.charges.append(context.idempotency_key)
    shop.at("charge")
    return shop.reply or {"hold_id": "charged"}


async def refund(state: Order, context: CallContext) -> None:
    shop.refunds.append(context.idempotency_key)
    shop.at("refund")


async def confirm_order(state: Order, tx: Transaction) -> Order:
    shop.at("confirm")
    return replace(state, seen=(*state.seen, "confirmed"))


async def unconfirm_order(state: Order, tx: Transaction) -> None:
    shop.at("unconfirm")


async def when_completed(state: Order, tx: Transaction) -> None:
    shop.at("on_completed")


async def when_compensated(state: Order, tx: Transaction) -> None:
    shop.at("on_compensated")


def merge_charge(state: Order, reply: dict[str, Any]) -> Order:
    shop.at("merge")
    return replace(state, hold_id=reply["hold_id"])


def make_notify(state: Order) -> Notify:
    shop.at("make")
    return Notify(state.order_id)


def make_void(state: Order) -> Void:
    shop.at("make_compensation")
    return Void(state.order_id)


class Charging(Saga[Order], name="orders.charging", key="order_id", deadline_seconds=120, hook_retry=SOON):
    charge = call(charge, compensation=refund, merge=merge_charge, timeout_seconds=5, retry=SOON)
    confirm = local(confirm_order, compensation=unconfirm_order, after=charge)
    notify = step(Notify, no_compensation=True, after=confirm, make=make_notify, timeout_seconds=500)
    on_completed = when_completed
    on_compensated = when_compensated


class Commanding(Saga[Order], name="orders.commanding", key="order_id", hook_retry=SOON):
    reserve = step(Reserve, compensation=Release, timeout_seconds=5, retry=SOON)
    hold = step(
        Hold,
        compensation=Void,
        after=reserve,
        merge=merge_charge,
        make_compensation=make_void,
        timeout_seconds=5,
        retry=SOON,
    )
    confirm = local(confirm_order, compensation=unconfirm_order, after=hold)
    capture = step(Capture, pivot=True, after=confirm, timeout_seconds=5)
    notify = step(Notify, optional=True, after=capture, make=make_notify, timeout_seconds=5)
    on_completed = when_completed
    on_compensated = when_compensated


@asynccontextmanager
async def hooks_bench(database_url: str) -> AsyncIterator[Bench]:
    """Both sagas, with nothing wrong yet."""
    shop.__init__()  # type: ignore[misc] # a fresh one, in the same place
    async with bench(database_url, Charging, Commanding) as ready:
        yield ready


def line_of(function: Callable[..., object], containing: str) -> str:
    """The place of a function's first line with that text, as a failure names it."""
    lines, first = inspect.getsourcelines(function)
    number = next(number for number, each in enumerate(lines) if containing in each)
    return f"{Path(inspect.getfile(function)).relative_to(_ROOT)}:{first + number}"


async def charged(at: Bench) -> Any:
    """Start an instance and let its call return."""
    saga_id = await at.start(Charging, ORDER)
    await at.rounds()
    return saga_id


async def never(*_: Any) -> None:
    """Stands for a process that is gone."""
