"""Placing, confirming and cancelling orders, each in the caller's transaction. Imports the tables and rules.

An order leaves `placed` once, by a conditional update: of confirmation and cancellation one wins, and the other finds
nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from freehold.transaction import Transaction
from freehold_shop.moments import now_ms
from freehold_shop.money import Money
from freehold_shop.orders.contracts import CheckoutMode, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced
from freehold_shop.orders.domain import OrderStatus, lines_document, sold_lines, total_of
from freehold_shop.orders.tables import orders
from freehold_shop.upsert import claim_row

__all__ = ["NewOrder", "OrderExists", "cancel", "confirm", "place"]

_END = (
    update(orders)
    .where(
        orders.c.order_id == bindparam("wanted_order_id"),
        orders.c.status.in_(bindparam("standing", expanding=True)),
        orders.c.checkout.in_(bindparam("modes", expanding=True)),
    )
    .returning(orders.c.customer_id, orders.c.checkout, orders.c.currency, orders.c.total_pence)
)


class OrderExists(Exception):
    """Another order, with other content, has this id."""


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

    Raises `OrderExists` where the id belongs to an order with other content.
    """
    now = now_ms()
    placed = await claim_row(
        tx.connection,
        orders,
        {
            "order_id": order.order_id,
            "customer_id": order.customer_id,
            "status": OrderStatus.PLACED.value,
            "checkout": order.checkout.value,
            "currency": order.currency,
            "total_pence": order.total.pence,
            "lines": lines_document(order.lines),
            "placed_at_ms": order.placed_at_ms if order.placed_at_ms is not None else now,
            "created_at_ms": now,
        },
    )
    if not placed:
        await _check_same(tx, order)
        return False
    tx.publish(OrderPlaced(order.order_id, order.customer_id, order.checkout, order.total, order.lines))
    return True


async def confirm(tx: Transaction, order_id: str) -> bool:
    """The order is paid and about to leave. False: it is not `placed` any more."""
    row = await _end(tx, order_id, (OrderStatus.PLACED,), OrderStatus.CONFIRMED)
    if row is None:
        return False
    total = Money(row.total_pence, row.currency)
    tx.publish(OrderConfirmed(order_id, row.customer_id, CheckoutMode(row.checkout), total))
    return True


async def cancel(
    tx: Transaction, order_id: str, reason: str, *, only: CheckoutMode | None = None, confirmed_too: bool = False
) -> bool:
    """The order comes to nothing; whoever holds something for it gives it back at the event. False: it had ended.

    `only` spares orders of the other kind of checkout. `confirmed_too` is for goods that turn out to be gone.
    """
    standing = (OrderStatus.PLACED, OrderStatus.CONFIRMED) if confirmed_too else (OrderStatus.PLACED,)
    row = await _end(tx, order_id, standing, OrderStatus.CANCELLED, reason=reason, only=only)
    if row is None:
        return False
    tx.publish(OrderCancelled(order_id, row.customer_id, CheckoutMode(row.checkout), reason))
    return True


async def _end(
    tx: Transaction,
    order_id: str,
    standing: tuple[OrderStatus, ...],
    status: OrderStatus,
    *,
    reason: str | None = None,
    only: CheckoutMode | None = None,
) -> Any | None:
    ended = await tx.connection.execute(
        _END,
        {
            "wanted_order_id": order_id,
            "standing": [each.value for each in standing],
            "modes": [each.value for each in CheckoutMode if only in {None, each}],
            "status": status.value,
            "reason": reason,
            "ended_at_ms": now_ms(),
        },
    )
    return ended.one_or_none()


async def _check_same(tx: Transaction, order: NewOrder) -> None:
    found = await tx.connection.execute(select(orders).where(orders.c.order_id == order.order_id))
    row = found.one()
    lines = tuple(OrderLine(line.sku, line.quantity, line.price_pence) for line in sold_lines(row.lines))
    if (row.customer_id, row.currency, lines) != (order.customer_id, order.currency, order.lines):
        raise OrderExists(order.order_id)
