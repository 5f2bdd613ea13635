"""Events of orders. Imports the messages of Freehold and money; the only module others may import.

`checkout` is the kind of the checkout: in `saga` the orders service orchestrates the others by commands, in
`choreographed` they react to events. A subscriber to `OrderPlaced` or `OrderConfirmed` uses it to decide whether to
act.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from freehold.messages import event
from freehold_shop.money import Money

__all__ = ["CheckoutMode", "OrderCancelled", "OrderConfirmed", "OrderLine", "OrderPlaced", "OrderReturned"]


class CheckoutMode(StrEnum):
    """The kind of an order's checkout."""

    SAGA = "saga"
    CHOREOGRAPHED = "choreographed"


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A quantity of a product at the agreed price."""

    sku: str
    quantity: int
    price_pence: int


@event("orders.order-placed", version=1, key="order_id")
class OrderPlaced:
    """A customer ordered these goods. `placed_at_ms` is the business time, in milliseconds since 1970."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    total: Money
    lines: tuple[OrderLine, ...]
    placed_at_ms: int = 0


@event("orders.order-confirmed", version=1, key="order_id")
class OrderConfirmed:
    """The goods are held, paid and about to leave."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    total: Money


@event("orders.order-cancelled", version=1, key="order_id")
class OrderCancelled:
    """The order is cancelled, for `reason`. Services that hold goods or money for it release them."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    reason: str


@event("orders.order-returned", version=1, key="order_id")
class OrderReturned:
    """Goods of an order were returned: refunded and restocked. `complete`: all goods of the order are returned."""

    order_id: str
    return_ref: str
    refund: Money
    complete: bool
