"""An order as its events have made it, and the commands that can be given to it. Imports the contracts and rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from freehold_shop.money import Money
from freehold_shop.orders.contracts import CheckoutMode, OrderLine
from freehold_shop.orders.domain import OrderStatus, SoldLine

__all__ = [
    "Cancel",
    "Command",
    "NoteRefunded",
    "NoteRestocked",
    "Order",
    "OrderExists",
    "Place",
    "Reach",
    "RequestReturn",
    "ReturnPart",
    "Stage",
]


class OrderExists(Exception):
    """Another order, with other content, has this id."""


class Stage(IntEnum):
    """How far an order has come. From `CONFIRMED` on it is sold."""

    PLACED = 0
    STOCK_RESERVED = 1
    PAYMENT_HELD = 2
    CONFIRMED = 3
    SHIPPED = 4
    DELIVERED = 5


@dataclass(frozen=True, slots=True)
class ReturnPart:
    """What of a return belongs to this order, and which of its two halves are done."""

    return_ref: str
    refund: Money
    lines: tuple[OrderLine, ...]
    refunded: bool = False
    restocked: bool = False

    @property
    def done(self) -> bool:
        """Whether money and goods are back."""
        return self.refunded and self.restocked


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its events have made it. `reason` is why it was cancelled."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    total: Money
    lines: tuple[SoldLine, ...]
    placed_at_ms: int
    stage: Stage = Stage.PLACED
    reason: str | None = None
    returns: tuple[ReturnPart, ...] = ()

    @property
    def status(self) -> OrderStatus:
        """What people are told: the cancellation first, then what came back, then the stage."""
        if self.reason is not None:
            return OrderStatus.CANCELLED
        if any(part.done for part in self.returns):
            return OrderStatus.RETURNED if self.all_returned else OrderStatus.PARTIALLY_RETURNED
        return OrderStatus[self.stage.name]

    @property
    def all_returned(self) -> bool:
        """Whether nothing is left of it and no return is on its way."""
        return all(line.left == 0 for line in self.lines) and all(part.done for part in self.returns)

    def part(self, return_ref: str) -> ReturnPart | None:
        """What of a return belongs to this order."""
        return next((part for part in self.returns if part.return_ref == return_ref), None)


@dataclass(frozen=True, slots=True)
class Place:
    """A customer wants these goods."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    total: Money
    lines: tuple[OrderLine, ...]
    placed_at_ms: int


@dataclass(frozen=True, slots=True)
class Reach:
    """The order has come this far."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Cancel:
    """The order comes to nothing. `only` spares orders of the other kind of checkout; `confirmed_too` is for goods
    that turn out to be gone.
    """

    reason: str
    only: CheckoutMode | None = None
    confirmed_too: bool = False


@dataclass(frozen=True, slots=True)
class RequestReturn:
    """Goods of the order, at the prices paid, come back."""

    return_ref: str
    refund: Money
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, slots=True)
class NoteRefunded:
    """The money of a return is back."""

    return_ref: str


@dataclass(frozen=True, slots=True)
class NoteRestocked:
    """The goods of a return are back."""

    return_ref: str


Command = Place | Reach | Cancel | RequestReturn | NoteRefunded | NoteRestocked
