"""Sagas of several shapes that the tests share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from freehold.messages import command
from freehold.policy import Retry
from freehold.saga import CallContext, Saga, call, local, step
from freehold.transaction import Transaction


@command("inventory.reserve", key="order_id")
class Reserve:
    order_id: str
    quantity: int


@command("inventory.release", key="order_id")
class Release:
    order_id: str


@command("payments.hold", key="order_id")
class Hold:
    order_id: str


@command("payments.void", key="order_id")
class Void:
    order_id: str
    hold_id: str | None = None


@command("shipping.create", key="order_id")
class Ship:
    order_id: str


@command("shipping.cancel", key="order_id")
class Unship:
    order_id: str


@command("payments.capture", key="order_id")
class Capture:
    order_id: str
    hold_id: str


@command("notifications.send")
class Notify:
    order_id: str


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str
    quantity: int = 1
    hold_id: str | None = None
    seen: tuple[str, ...] = ()
    failure: str | None = None


ORDER = Order("order-1")
REPLIES: dict[str, dict[str, Any]] = {"hold": {"hold_id": "hold-1"}, "quote": {"hold_id": "quote-1"}}
QUICK = Retry(attempts=3, delay_seconds=0.5, draw=lambda: 1.0)


async def write_order(state: Order, tx: Transaction) -> None:
    """Stands for a write to the service's own tables."""


async def ask_quote(state: Order, context: CallContext) -> dict[str, str]:
    return {"hold_id": "from-call"}


async def withdraw_quote(state: Order, context: CallContext) -> None:
    """Stands for a request to another service."""


class Checkout(Saga[Order], name="orders.checkout", key="order_id"):
    reserve = step(Reserve, compensation=Release, timeout_seconds=5, retry=QUICK)
    hold = step(Hold, compensation=Void, after=reserve)
    ship = step(Ship, compensation=Unship, after=hold)
    capture = step(Capture, pivot=True, after=ship)
    confirm = local(write_order, after=capture)
    notify = step(Notify, optional=True, after=confirm)


class Parallel(Saga[Order], name="orders.parallel", key="order_id", deadline_seconds=600):
    begin = local(write_order, compensation=write_order)
    reserve = step(Reserve, compensation=Release, after=begin)
    hold = step(Hold, compensation=Void, after=begin)
    extra = step(Notify, optional=True, compensation=Release, after=reserve)
    ship = step(Ship, compensation=Unship, after=(reserve, hold))
    capture = step(Capture, pivot=True, after=ship)
    confirm = step(Notify, after=capture)


class Calling(Saga[Order], name="orders.calling", key="order_id"):
    quote = call(ask_quote, compensation=withdraw_quote, timeout_seconds=5)
    reserve = step(Reserve, compensation=Release, after=quote)
    second = call(ask_quote, compensation=withdraw_quote, after=quote)
    confirm = local(write_order, after=(reserve, second))


def merge_hold(state: Order, reply: dict[str, Any]) -> Order:
    return replace(state, hold_id=reply["hold_id"])


class Hooked(Saga[Order], name="orders.with-hooks", key="order_id", deadline_seconds=50):
    quote = call(ask_quote, compensation=withdraw_quote, timeout_seconds=5, merge=merge_hold)
    hold = step(
        Hold,
        compensation=Void,
        after=quote,
        timeout_seconds=5,
        make=lambda state: Hold(state.order_id),
        make_compensation=lambda state: Void(state.order_id, state.hold_id),
        merge=merge_hold,
    )
    write = local(write_order, compensation=write_order, after=hold)
    ship = step(Ship, compensation=Unship, after=write, timeout_seconds=5)
    on_completed = write_order
    on_compensated = write_order


SHAPES = (Checkout, Parallel, Calling, Hooked)
