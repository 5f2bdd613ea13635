"""The rules of orders: statuses, totals, and which earlier orders a return belongs to. Imports the contracts only.

The lines of an order are stored as one JSON document: `[[sku, quantity, price_pence, returned], …]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from freehold_shop.money import Money, checked_pence
from freehold_shop.orders.contracts import OrderLine

__all__ = [
    "IN_FLIGHT",
    "RETURN_WITHOUT_SALE",
    "Accepted",
    "Matching",
    "NotSold",
    "OrderStatus",
    "PastOrder",
    "ReturnLine",
    "SoldLine",
    "lines_document",
    "mark_returned",
    "match_return",
    "sold_lines",
    "total_of",
]

RETURN_WITHOUT_SALE = "return-without-sale"


class NotSold(Exception):
    """The order has not sold these goods, or they were returned before."""


class OrderStatus(StrEnum):
    """The status of an order. `confirmed` or `cancelled` follows the first three; `cancelled`, `returned` are final."""

    PLACED = "placed"
    STOCK_RESERVED = "stock-reserved"
    PAYMENT_HELD = "payment-held"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    PARTIALLY_RETURNED = "partially-returned"
    RETURNED = "returned"


IN_FLIGHT: Final = frozenset({OrderStatus.PLACED, OrderStatus.STOCK_RESERVED, OrderStatus.PAYMENT_HELD})
"""The statuses of an order that is neither confirmed nor cancelled yet."""


@dataclass(frozen=True, slots=True)
class SoldLine:
    """A line of an order, with the quantity that was returned."""

    sku: str
    quantity: int
    price_pence: int
    returned: int = 0

    @property
    def left(self) -> int:
        """The quantity that can still be returned."""
        return self.quantity - self.returned


@dataclass(frozen=True, slots=True)
class PastOrder:
    """An earlier order in which returned goods may have been bought."""

    order_id: str
    currency: str
    lines: tuple[SoldLine, ...]

    @property
    def all_returned(self) -> bool:
        """Whether all goods of the order are returned."""
        return all(line.left == 0 for line in self.lines)


@dataclass(frozen=True, slots=True)
class ReturnLine:
    """A quantity of a product that is returned."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The part of a return that belongs to one order: `lines` at the price paid, and the `order` afterwards."""

    order: PastOrder
    lines: tuple[OrderLine, ...]

    @property
    def refund(self) -> Money:
        """The money to refund."""
        return total_of(self.lines, self.order.currency)


@dataclass(frozen=True, slots=True)
class Matching:
    """A return matched with orders: the accepted parts, and the goods that belong to no order."""

    accepted: tuple[Accepted, ...]
    unmatched: tuple[ReturnLine, ...]


def total_of(lines: Iterable[OrderLine], currency: str) -> Money:
    """The sum of quantity times price of all lines. Raises `InvalidValue` where it is out of bounds."""
    return Money(checked_pence(sum(line.quantity * line.price_pence for line in lines)), currency)


def lines_document(lines: Iterable[OrderLine | SoldLine]) -> str:
    """Lines as the stored document."""
    rows = [[line.sku, line.quantity, line.price_pence, getattr(line, "returned", 0)] for line in lines]
    return json.dumps(rows, separators=(",", ":"))


def sold_lines(document: str) -> tuple[SoldLine, ...]:
    """The lines of a stored document."""
    return tuple(SoldLine(*row) for row in json.loads(document))


def match_return(lines: Sequence[ReturnLine], orders: Sequence[PastOrder]) -> Matching:
    """Find the orders in which returned goods were bought, as far as they were not returned before.

    Matches the orders in the sequence given (most recent first). The rest was never sold.
    """
    lines_of = {order.order_id: list(order.lines) for order in orders}
    taken: dict[str, list[OrderLine]] = {}
    unmatched: list[ReturnLine] = []
    for line in lines:
        wanted = line.quantity
        for order in orders:
            wanted = _take(line.sku, wanted, lines_of[order.order_id], taken.setdefault(order.order_id, []))
        if wanted:
            unmatched.append(ReturnLine(line.sku, wanted))
    accepted = tuple(
        Accepted(replace(order, lines=tuple(lines_of[order.order_id])), tuple(taken[order.order_id]))
        for order in orders
        if taken.get(order.order_id)
    )
    return Matching(accepted, tuple(unmatched))


def _take(sku: str, wanted: int, lines: list[SoldLine], taken: list[OrderLine]) -> int:
    """Mark up to `wanted` pieces of an order's lines as returned; returns how many are still wanted."""
    for position, line in enumerate(lines):
        pieces = min(wanted, line.left) if line.sku == sku else 0
        if pieces:
            lines[position] = replace(line, returned=line.returned + pieces)
            taken.append(OrderLine(sku, pieces, line.price_pence))
            wanted -= pieces
    return wanted


def mark_returned(sold: Sequence[SoldLine], lines: Iterable[OrderLine]) -> tuple[SoldLine, ...]:
    """An order's lines after goods are returned at the prices paid. Raises `NotSold` where too few are left."""
    after = list(sold)
    for wanted in lines:
        left = wanted.quantity
        for position, line in enumerate(after):
            pieces = min(left, line.left) if (line.sku, line.price_pence) == (wanted.sku, wanted.price_pence) else 0
            if pieces:
                after[position] = replace(line, returned=line.returned + pieces)
                left -= pieces
        if left:
            raise NotSold(wanted.sku)
    return tuple(after)
