"""The state of an order, folded from its events, and the commands to it. Imports the contracts and rules."""

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
    """An order with other content has this id."""


class Stage(IntEnum):
    """The stages of an order. From `CONFIRMED` on it is sold."""

    PLACED = 0
    STOCK_RESERVED = 1
    PAYMENT_HELD = 2
    CONFIRMED = 3
    SHIPPED = 4
    DELIVERED = 5


@dataclass(frozen=True, slots=True)
class ReturnPart:
    """The part of a return that belongs to this order, and which of its two halves are done."""

    return_ref: str
    refund: Money
    lines: tuple[OrderLine, ...]
    refunded: bool = False
    restocked: bool = False

    @property
    def done(self) -> bool:
        """Whether it is refunded and restocked."""
        return self.refunded and self.restocked


@dataclass(frozen=True, slots=True)
class Order:
    """The state of an order. `reason` is why it was cancelled."""

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
        """The status for display: cancelled first, then returned, then the stage."""
        if self.reason is not None:
            return OrderStatus.CANCELLED
        if any(part.done for part in self.returns):
            return OrderStatus.RETURNED if self.all_returned else OrderStatus.PARTIALLY_RETURNED
        return OrderStatus[self.stage.name]

    @property
    def all_returned(self) -> bool:
        """Whether all goods are returned and no return is in progress."""
        return all(line.left == 0 for line in self.lines) and all(part.done for part in self.returns)

    def part(self, return_ref: str) -> ReturnPart | None:
        """The part of a return that belongs to this order."""
        return next((part for part in self.returns if part.return_ref == return_ref), None)


@dataclass(frozen=True, slots=True)
class Place:
    """Place the order of a customer."""

    order_id: str
    customer_id: str
    checkout: CheckoutMode
    total: Money
    lines: tuple[OrderLine, ...]
    placed_at_ms: int


@dataclass(frozen=True, slots=True)
class Reach:
    """Bring the order to a stage."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the order. `only`: if it has this kind of checkout. `confirmed_too`: also after its confirmation."""

    reason: str
    only: CheckoutMode | None = None
    confirmed_too: bool = False


@dataclass(frozen=True, slots=True)
class RequestReturn:
    """Return goods of the order, at the prices paid."""

    return_ref: str
    refund: Money
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, slots=True)
class NoteRefunded:
    """Note that a return is refunded."""

    return_ref: str


@dataclass(frozen=True, slots=True)
class NoteRestocked:
    """Note that a return is restocked."""

    return_ref: str


Command = Place | Reach | Cancel | RequestReturn | NoteRefunded | NoteRestocked
