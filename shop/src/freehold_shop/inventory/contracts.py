"""Commands to and events of the inventory. Imports the messages of Freehold and money; the only module
others may import.

A command gets a reply, and publishes an event only where other services need it. The reaction to an event publishes an
event with what the next service of a choreographed checkout needs. Rejections: `insufficient-stock`.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold.messages import command, event
from freehold_shop.money import Money

__all__ = [
    "CommitStock",
    "ExpireReservation",
    "InventoryReservationFailed",
    "ReleaseStock",
    "ReservationExpired",
    "ReserveStock",
    "ReturnStock",
    "StockCommitRefused",
    "StockHeld",
    "StockLine",
    "StockReceived",
    "StockReleased",
    "StockReserved",
    "StockReturned",
]


@dataclass(frozen=True, slots=True)
class StockLine:
    """A quantity of a product."""

    sku: str
    quantity: int


@command("inventory.reserve-stock", version=1, key="order_id")
class ReserveStock:
    """Hold the goods for an order, all or none, for 15 minutes. The reply: done or rejected."""

    order_id: str
    lines: tuple[StockLine, ...]


@command("inventory.release-stock", version=1, key="order_id")
class ReleaseStock:
    """Release the goods held for an order. No effect where none are held."""

    order_id: str


@command("inventory.commit-stock", version=1, key="order_id")
class CommitStock:
    """Remove the held goods from the stock: they leave. Where the hold has expired, free stock is used."""

    order_id: str


@command("inventory.expire-reservation", version=1, key="order_id")
class ExpireReservation:
    """End a hold whose time is over; inventory schedules this to itself."""

    order_id: str


@command("inventory.return-stock", version=1, key="order_id")
class ReturnStock:
    """Add returned goods of an order to the stock. `StockReturned` reports it."""

    order_id: str
    return_ref: str
    lines: tuple[StockLine, ...]


@event("inventory.stock-reserved", version=1, key="order_id")
class StockReserved:
    """The goods are held for the order, which may be paid now."""

    order_id: str
    customer_id: str
    total: Money


@event("inventory.stock-held", version=1, key="order_id")
class StockHeld:
    """The goods are held for an order whose checkout is orchestrated. For read models; no service acts on it."""

    order_id: str


@event("inventory.reservation-failed", version=1, key="order_id")
class InventoryReservationFailed:
    """Nothing is held for the order, for `reason`."""

    order_id: str
    reason: str


@event("inventory.stock-released", version=1, key="order_id")
class StockReleased:
    """The goods held for the order are free again."""

    order_id: str


@event("inventory.reservation-expired", version=1, key="order_id")
class ReservationExpired:
    """The order was not confirmed within the hold's time; its goods are free again."""

    order_id: str


@event("inventory.stock-commit-refused", version=1, key="order_id")
class StockCommitRefused:
    """The order was confirmed after its hold had expired, and the free stock does not suffice."""

    order_id: str


@event("inventory.stock-received", version=1, key="receipt_ref")
class StockReceived:
    """A stock receipt was added to the stock."""

    receipt_ref: str
    lines: tuple[StockLine, ...]


@event("inventory.stock-returned", version=1, key="order_id")
class StockReturned:
    """Returned goods are in the stock again."""

    order_id: str
    return_ref: str
