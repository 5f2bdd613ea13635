"""Commands to and events of the inventory. Imports the messages of Freehold and money; the only module
others may import.

A command is answered and publishes nothing where its sender is the only one to care; the reaction to an event
publishes, and carries along what the next one in a choreographed checkout needs. Refusals: `insufficient-stock`.
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
    """So many pieces of a product."""

    sku: str
    quantity: int


@command("inventory.reserve-stock", version=1, key="order_id")
class ReserveStock:
    """Hold the pieces for an order, all or none, for 15 minutes. Answered as done, or refused."""

    order_id: str
    lines: tuple[StockLine, ...]


@command("inventory.release-stock", version=1, key="order_id")
class ReleaseStock:
    """Give back what is held for an order. Nothing held: nothing happens."""

    order_id: str


@command("inventory.commit-stock", version=1, key="order_id")
class CommitStock:
    """Take what is held out of the stock for good: the goods leave. Where the hold expired, free stock is taken."""

    order_id: str


@command("inventory.expire-reservation", version=1, key="order_id")
class ExpireReservation:
    """The hold's time is over; inventory schedules it to itself."""

    order_id: str


@command("inventory.return-stock", version=1, key="order_id")
class ReturnStock:
    """Goods of an order came back: put them on the shelf. Answered to everybody by `StockReturned`."""

    order_id: str
    return_ref: str
    lines: tuple[StockLine, ...]


@event("inventory.stock-reserved", version=1, key="order_id")
class StockReserved:
    """The pieces are held for the order, which may be paid now."""

    order_id: str
    customer_id: str
    total: Money


@event("inventory.stock-held", version=1, key="order_id")
class StockHeld:
    """The pieces are held for an order whose checkout is directed: nobody acts on it. For copies."""

    order_id: str


@event("inventory.reservation-failed", version=1, key="order_id")
class InventoryReservationFailed:
    """Nothing is held for the order, for this reason."""

    order_id: str
    reason: str


@event("inventory.stock-released", version=1, key="order_id")
class StockReleased:
    """What was held for the order can be bought by others again."""

    order_id: str


@event("inventory.reservation-expired", version=1, key="order_id")
class ReservationExpired:
    """Nobody confirmed the order within the hold's time; what was held has been released."""

    order_id: str


@event("inventory.stock-commit-refused", version=1, key="order_id")
class StockCommitRefused:
    """The order was confirmed after its hold had expired, and the stock went to others meanwhile."""

    order_id: str


@event("inventory.stock-received", version=1, key="receipt_ref")
class StockReceived:
    """A delivery was put on the shelf."""

    receipt_ref: str
    lines: tuple[StockLine, ...]


@event("inventory.stock-returned", version=1, key="order_id")
class StockReturned:
    """Returned goods are on the shelf again."""

    order_id: str
    return_ref: str
