"""Events of orders. Imports the messages of Freehold and money; the only module others may import.

`checkout` says who carries the order on: in `saga` the orders service orchestrates the others by commands, in
`choreographed` they react to events. Who subscribes to `OrderPlaced` or `OrderConfirmed` looks at it to
know whether to act.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from freehold.messages import event
from freehold_shop.money import Money

__all__ = ["CheckoutMode", "OrderCancelled", "OrderConfirmed", "OrderLine", "OrderPlaced", "OrderReturned"]


class CheckoutMode(StrEnum):
    """How an order is carried on."""

    SAGA = "saga"
    CHOREOGRAPHED = "choreographed"


@dataclass(frozen=True, slots=True)
class OrderLine:
    """So many pieces of a product at the price agreed."""

    sku: str
    quantity: int
    price_pence: int


@event("orders.order-placed", version=1, key="order_id")
class OrderPlaced:
    """A customer wants these goods. `placed_at_ms` is the business's time of it, milliseconds since 1970."""

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
    """The order came to nothing, for this reason. Whoever still holds something for it gives it back."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    reason: str


@event("orders.order-returned", version=1, key="order_id")
class OrderReturned:
    """Goods of an order came back: refunded and on the shelf again. `complete` says that nothing of it is left."""

    order_id: str
    return_ref: str
    refund: Money
    complete: bool
