"""The columns of an order that each event of the other services writes, whatever the order of the events.

The events of one service about one order come in order; those of different services do not. So each service writes
columns of its own, and a column that several services write only increases. Imports the others' contracts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from freehold_shop.inventory.contracts import ReservationExpired, StockHeld, StockReleased, StockReserved
from freehold_shop.orders.contracts import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, OrderReturned
from freehold_shop.payments.contracts import PaymentCaptured, PaymentChanged, PaymentHeld
from freehold_shop.shipping.contracts import (
    ShipmentChanged,
    ShipmentCreated,
    ShipmentDelivered,
    ShipmentDispatched,
    ShipmentFailed,
)

__all__ = ["COLUMNS", "ORDER_EVENTS", "Facts", "Hold", "OrderEvent", "Standing", "facts_of"]


class Standing(IntEnum):
    """The status of an order as a number: the greatest that an event has reported counts."""

    UNHEARD_OF = 0
    PLACED = 1
    STOCK_RESERVED = 2
    PAYMENT_HELD = 3
    CONFIRMED = 4
    SHIPPED = 5
    DELIVERED = 6
    PARTIALLY_RETURNED = 7
    RETURNED = 8
    CANCELLED = 9

    @property
    def word(self) -> str:
        """The status in the API of orders."""
        return self.name.lower().replace("_", "-")


class Hold(IntEnum):
    """Whether an order's goods are held. They are held at most once, so this only increases."""

    NEVER = 0
    HELD = 1
    OVER = 2


OrderEvent = (
    OrderPlaced
    | OrderConfirmed
    | OrderCancelled
    | OrderReturned
    | StockReserved
    | StockHeld
    | StockReleased
    | ReservationExpired
    | PaymentHeld
    | PaymentCaptured
    | PaymentChanged
    | ShipmentCreated
    | ShipmentFailed
    | ShipmentChanged
    | ShipmentDispatched
    | ShipmentDelivered
)
ORDER_EVENTS: Final = OrderEvent.__args__
"""The events about an order."""

COLUMNS: Final = (
    "customer_id",
    "currency",
    "total_pence",
    "placed_at_ms",
    "lines",
    "standing",
    "hold",
    "payment_status",
    "amount_pence",
    "captured_pence",
    "refunded_pence",
    "shipment_status",
)
"""The columns of an order, without its id."""

Facts = dict[str, str | int | None]
_UNDELIVERABLE = "undeliverable"


def facts_of(event: OrderEvent) -> Facts:
    """The columns that an event writes."""
    match event:
        case OrderPlaced() | OrderConfirmed() | OrderCancelled() | OrderReturned():
            return _of_orders(event)
        case StockReserved() | StockHeld() | StockReleased() | ReservationExpired():
            return _of_inventory(event)
        case PaymentHeld() | PaymentCaptured() | PaymentChanged():
            return _of_payments(event)
        case _:
            return _of_shipping(event)


def _of_orders(event: OrderPlaced | OrderConfirmed | OrderCancelled | OrderReturned) -> Facts:
    match event:
        case OrderPlaced():
            return {
                "customer_id": event.customer_id,
                "currency": event.total.currency,
                "total_pence": event.total.pence,
                "placed_at_ms": event.placed_at_ms,
                "lines": _products(event.lines),
                "standing": Standing.PLACED,
            }
        case OrderConfirmed():
            return {"standing": Standing.CONFIRMED, "hold": Hold.OVER}
        case OrderCancelled():
            return {"standing": Standing.CANCELLED}
        case OrderReturned(complete=complete):
            return {"standing": Standing.RETURNED if complete else Standing.PARTIALLY_RETURNED}


def _of_inventory(event: StockReserved | StockHeld | StockReleased | ReservationExpired) -> Facts:
    match event:
        case StockReserved():  # of a choreographed checkout: orders has the same status then
            return {"hold": Hold.HELD, "standing": Standing.STOCK_RESERVED}
        case StockHeld():
            return {"hold": Hold.HELD}
        case StockReleased() | ReservationExpired():
            return {"hold": Hold.OVER}


def _of_payments(event: PaymentHeld | PaymentCaptured | PaymentChanged) -> Facts:
    match event:
        case PaymentHeld(amount=amount):
            return {"payment_status": "held", "amount_pence": amount.pence, "standing": Standing.PAYMENT_HELD}
        case PaymentCaptured(amount=amount):
            return {"payment_status": "captured", "amount_pence": amount.pence, "captured_pence": amount.pence}
        case PaymentChanged():
            return {
                "payment_status": event.status,
                "amount_pence": event.amount_pence,
                "captured_pence": event.captured_pence,
                "refunded_pence": event.refunded_pence,
            }


def _of_shipping(
    event: ShipmentCreated | ShipmentFailed | ShipmentChanged | ShipmentDispatched | ShipmentDelivered,
) -> Facts:
    match event:
        case ShipmentCreated():
            return {"shipment_status": "created"}
        case ShipmentFailed(reason=reason):  # of an order cancelled before, `ShipmentChanged` reports the status
            return {"shipment_status": "failed"} if reason == _UNDELIVERABLE else {}
        case ShipmentChanged(status=status):
            return {"shipment_status": status}
        case ShipmentDispatched():
            return {"shipment_status": "dispatched", "standing": Standing.SHIPPED}
        case ShipmentDelivered():
            return {"shipment_status": "delivered", "standing": Standing.DELIVERED}


def _products(lines: Iterable[OrderLine]) -> str:
    quantities: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        quantities[line.sku] += line.quantity
    return json.dumps(sorted(quantities.items()), separators=(",", ":"))
