"""Placing orders and carrying them on, each in the caller's transaction. Imports the order's life, the aggregates.

What an order is follows from its events alone. Two transactions that decide on one order at the same time cannot both
commit: the later one is done again, and decides on what the first one left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from freehold import InvalidValue, Repository
from freehold.transaction import Transaction
from freehold_shop import rules
from freehold_shop.moments import now_ms
from freehold_shop.money import Money
from freehold_shop.orders.contracts import (
    CheckoutMode,
    OrderCancelled,
    OrderConfirmed,
    OrderLine,
    OrderPlaced,
    OrderReturned,
)
from freehold_shop.orders.domain import total_of
from freehold_shop.orders.life import ORDER
from freehold_shop.orders.order import Cancel, Order, Place, Reach, Stage

__all__ = ["BOOK", "NewOrder", "cancel", "place", "reach"]

_may_be_called = re.compile(rules.NEW_ORDER_ID).match

BOOK: Final[Repository[Order | None]] = Repository(
    ORDER, publish=(OrderPlaced, OrderConfirmed, OrderCancelled, OrderReturned)
)
"""All orders."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What a customer wants. `placed_at_ms` None stands for now."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    currency: str
    lines: tuple[OrderLine, ...]
    placed_at_ms: int | None = None

    @property
    def total(self) -> Money:
        """What it costs."""
        return total_of(self.lines, self.currency)


async def place(tx: Transaction, order: NewOrder) -> bool:
    """Take an order and publish it. False: it was taken before, and nothing was done.

    Raises `InvalidValue` for an id that no order may have, `OrderExists` where it belongs to one with other content.
    """
    if _may_be_called(order.order_id) is None:
        raise InvalidValue("order_id", "is none that an order may have", hint="letters, digits, - and _; not `summary`")
    placed_at_ms = order.placed_at_ms if order.placed_at_ms is not None else now_ms()
    wanted = Place(order.order_id, order.customer_id, order.checkout, order.total, order.lines, placed_at_ms)
    return bool((await BOOK.execute(tx, order.order_id, wanted)).events)


async def reach(tx: Transaction, order_id: str, stage: Stage) -> bool:
    """The order has come this far. False: that was known, or it has ended another way."""
    return bool((await BOOK.execute(tx, order_id, Reach(stage))).events)


async def cancel(
    tx: Transaction, order_id: str, reason: str, *, only: CheckoutMode | None = None, confirmed_too: bool = False
) -> bool:
    """The order comes to nothing; whoever holds something for it gives it back at the event. False: it had ended.

    `only` spares orders of the other kind of checkout. `confirmed_too` is for goods that turn out to be gone.
    """
    return bool((await BOOK.execute(tx, order_id, Cancel(reason, only, confirmed_too))).events)
