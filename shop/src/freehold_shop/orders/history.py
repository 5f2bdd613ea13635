"""Events that orders stores in its streams and does not publish: the steps between the published ones.

With those of `contracts` they are an order's whole history. Imports the messages of Freehold, money, the contracts.
"""

from __future__ import annotations

from freehold.messages import event
from freehold_shop.money import Money
from freehold_shop.orders.contracts import OrderLine

__all__ = [
    "OrderDelivered",
    "OrderPaymentHeld",
    "OrderReturnRefunded",
    "OrderReturnRequested",
    "OrderReturnRestocked",
    "OrderShipped",
    "OrderStockReserved",
]


@event("orders.order-stock-reserved", version=1, key="order_id")
class OrderStockReserved:
    """Inventory holds the goods."""

    order_id: str


@event("orders.order-payment-held", version=1, key="order_id")
class OrderPaymentHeld:
    """Payments holds the money."""

    order_id: str


@event("orders.order-shipped", version=1, key="order_id")
class OrderShipped:
    """The carrier has taken the parcel."""

    order_id: str


@event("orders.order-delivered", version=1, key="order_id")
class OrderDelivered:
    """The customer has the parcel."""

    order_id: str


@event("orders.order-return-requested", version=1, key="order_id")
class OrderReturnRequested:
    """Goods of the order are being returned, with their refund. They cannot be returned again."""

    order_id: str
    return_ref: str
    refund: Money
    lines: tuple[OrderLine, ...]


@event("orders.order-return-refunded", version=1, key="order_id")
class OrderReturnRefunded:
    """The money of a return is refunded."""

    order_id: str
    return_ref: str


@event("orders.order-return-restocked", version=1, key="order_id")
class OrderReturnRestocked:
    """The goods of a return are in the stock again."""

    order_id: str
    return_ref: str
