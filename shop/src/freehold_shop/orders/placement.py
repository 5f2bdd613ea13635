"""Placing an order, bringing it to its stages and cancelling it, each in the caller's transaction.

An order's state follows from its events alone. Of two transactions that decide on one order at the same time only one
can commit; the other is retried on the new state. Imports the order's life, the aggregates.
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
    """An order to place. `placed_at_ms` None: now."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    currency: str
    lines: tuple[OrderLine, ...]
    placed_at_ms: int | None = None

    @property
    def total(self) -> Money:
        """The sum of its lines."""
        return total_of(self.lines, self.currency)


async def place(tx: Transaction, order: NewOrder) -> bool:
    """Place an order and publish it. False: it was placed before; nothing changes.

    Raises `InvalidValue` for an invalid id, `OrderExists` where an order with other content has the id.
    """
    if _may_be_called(order.order_id) is None:
        raise InvalidValue("order_id", "is no valid order id", hint="letters, digits, - and _; not `summary`")
    placed_at_ms = order.placed_at_ms if order.placed_at_ms is not None else now_ms()
    wanted = Place(order.order_id, order.customer_id, order.checkout, order.total, order.lines, placed_at_ms)
    return bool((await BOOK.execute(tx, order.order_id, wanted)).events)


async def reach(tx: Transaction, order_id: str, stage: Stage) -> bool:
    """Bring an order to a stage. False: it was there before, or it is cancelled."""
    return bool((await BOOK.execute(tx, order_id, Reach(stage))).events)


async def cancel(
    tx: Transaction, order_id: str, reason: str, *, only: CheckoutMode | None = None, confirmed_too: bool = False
) -> bool:
    """Cancel an order; at the event the services release what they hold for it. False: it cannot be cancelled any more.

    `only`: if it has this kind of checkout. `confirmed_too`: also after its confirmation, where its goods are gone.
    """
    return bool((await BOOK.execute(tx, order_id, Cancel(reason, only, confirmed_too))).events)
