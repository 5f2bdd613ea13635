"""Placing, confirming and cancelling orders, each in the caller's transaction. Imports the rules.

An order leaves `placed` once, by a conditional update: of confirmation and cancellation one wins, and the other finds
nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold.database import Row
from freehold.transaction import Transaction
from freehold_shop.moments import now_ms
from freehold_shop.money import Money
from freehold_shop.orders.contracts import CheckoutMode, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced
from freehold_shop.orders.domain import OrderStatus, lines_document, sold_lines, total_of

__all__ = ["NewOrder", "OrderExists", "cancel", "confirm", "place"]

_TAKE = """
INSERT INTO orders (
    order_id, customer_id, status, checkout, currency, total_pence, lines, placed_at_ms, created_at_ms
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING"""

_FIND = "SELECT customer_id, currency, lines FROM orders WHERE order_id = $1"

# An order ends once: $5 whether a confirmed one may, $6 the only kind of checkout, if not any.
_END = """
UPDATE orders SET status = $2, reason = $3, ended_at_ms = $4
WHERE order_id = $1
    AND (status = 'placed' OR (status = 'confirmed' AND CAST($5 AS BOOLEAN)))
    AND (CAST($6 AS TEXT) IS NULL OR checkout = CAST($6 AS TEXT))
RETURNING customer_id, checkout, currency, total_pence"""


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
    values = (
        order.order_id,
        order.customer_id,
        OrderStatus.PLACED.value,
        order.checkout.value,
        order.currency,
        order.total.pence,
        lines_document(order.lines),
        order.placed_at_ms if order.placed_at_ms is not None else now,
        now,
    )
    if not await tx.sql.execute(_TAKE, values):
        await _check_same(tx, order)
        return False
    tx.publish(OrderPlaced(order.order_id, order.customer_id, order.checkout, order.total, order.lines))
    return True


async def confirm(tx: Transaction, order_id: str) -> bool:
    """The order is paid and about to leave. False: it is not `placed` any more."""
    row = await _end(tx, order_id, OrderStatus.CONFIRMED)
    if row is None:
        return False
    customer_id, checkout, currency, total_pence = row
    tx.publish(OrderConfirmed(order_id, customer_id, CheckoutMode(checkout), Money(total_pence, currency)))
    return True


async def cancel(
    tx: Transaction, order_id: str, reason: str, *, only: CheckoutMode | None = None, confirmed_too: bool = False
) -> bool:
    """The order comes to nothing; whoever holds something for it gives it back at the event. False: it had ended.

    `only` spares orders of the other kind of checkout. `confirmed_too` is for goods that turn out to be gone.
    """
    row = await _end(tx, order_id, OrderStatus.CANCELLED, reason=reason, only=only, confirmed_too=confirmed_too)
    if row is None:
        return False
    customer_id, checkout, _, _ = row
    tx.publish(OrderCancelled(order_id, customer_id, CheckoutMode(checkout), reason))
    return True


async def _end(
    tx: Transaction,
    order_id: str,
    status: OrderStatus,
    *,
    reason: str | None = None,
    only: CheckoutMode | None = None,
    confirmed_too: bool = False,
) -> Row | None:
    only_kind = only.value if only is not None else None
    rows = await tx.sql.fetch(_END, (order_id, status.value, reason, now_ms(), confirmed_too, only_kind))
    return rows[0] if rows else None


async def _check_same(tx: Transaction, order: NewOrder) -> None:
    customer_id, currency, document = (await tx.sql.fetch(_FIND, (order.order_id,)))[0]
    lines = tuple(OrderLine(line.sku, line.quantity, line.price_pence) for line in sold_lines(document))
    if (customer_id, currency, lines) != (order.customer_id, order.currency, order.lines):
        raise OrderExists(order.order_id)
