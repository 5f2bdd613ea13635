"""The rules of orders: states, totals, and which earlier orders a return belongs to. Imports the contracts only.

The lines of an order are kept as one JSON document: `[[sku, quantity, price_pence, returned], …]`.
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
    "match_return",
    "sold_lines",
    "take_back",
    "total_of",
]

RETURN_WITHOUT_SALE = "return-without-sale"


class NotSold(Exception):
    """Goods come back that the order has not sold, or that came back before."""


class OrderStatus(StrEnum):
    """Where an order is. The first three are on their way to `confirmed` or `cancelled`; `cancelled` and `returned` are
    final.
    """

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
"""The statuses of an order of which it is not decided yet whether it is sold."""


@dataclass(frozen=True, slots=True)
class SoldLine:
    """A line of an order with the pieces of it that were returned."""

    sku: str
    quantity: int
    price_pence: int
    returned: int = 0

    @property
    def left(self) -> int:
        """Pieces that can still be returned."""
        return self.quantity - self.returned


@dataclass(frozen=True, slots=True)
class PastOrder:
    """An order that goods may have been bought with."""

    order_id: str
    currency: str
    lines: tuple[SoldLine, ...]

    @property
    def all_returned(self) -> bool:
        """Whether nothing of it is left."""
        return all(line.left == 0 for line in self.lines)


@dataclass(frozen=True, slots=True)
class ReturnLine:
    """So many pieces that come back."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """What of a return belongs to one order: `lines` at the price paid, `order` as it stands afterwards."""

    order: PastOrder
    lines: tuple[OrderLine, ...]

    @property
    def refund(self) -> Money:
        """What goes back."""
        return total_of(self.lines, self.order.currency)


@dataclass(frozen=True, slots=True)
class Matching:
    """A return matched with orders: what is accepted, and what belongs to no order."""

    accepted: tuple[Accepted, ...]
    unmatched: tuple[ReturnLine, ...]


def total_of(lines: Iterable[OrderLine], currency: str) -> Money:
    """Quantity times price, over all lines. Raises `InvalidValue` where that is more than can be held."""
    return Money(checked_pence(sum(line.quantity * line.price_pence for line in lines)), currency)


def lines_document(lines: Iterable[OrderLine | SoldLine]) -> str:
    """Lines as they are stored."""
    rows = [[line.sku, line.quantity, line.price_pence, getattr(line, "returned", 0)] for line in lines]
    return json.dumps(rows, separators=(",", ":"))


def sold_lines(document: str) -> tuple[SoldLine, ...]:
    """The lines of a stored document."""
    return tuple(SoldLine(*row) for row in json.loads(document))


def match_return(lines: Sequence[ReturnLine], orders: Sequence[PastOrder]) -> Matching:
    """Find the orders that returned goods were bought with: in the order given (most recent first), as far as goods
    of them were not returned before. What is left over was never sold.
    """
    standing = {order.order_id: list(order.lines) for order in orders}
    taken: dict[str, list[OrderLine]] = {}
    unmatched: list[ReturnLine] = []
    for line in lines:
        wanted = line.quantity
        for order in orders:
            wanted = _take(line.sku, wanted, standing[order.order_id], taken.setdefault(order.order_id, []))
        if wanted:
            unmatched.append(ReturnLine(line.sku, wanted))
    accepted = tuple(
        Accepted(replace(order, lines=tuple(standing[order.order_id])), tuple(taken[order.order_id]))
        for order in orders
        if taken.get(order.order_id)
    )
    return Matching(accepted, tuple(unmatched))


def _take(sku: str, wanted: int, lines: list[SoldLine], taken: list[OrderLine]) -> int:
    """Take up to `wanted` pieces from an order's lines; returns how many are still wanted."""
    for position, line in enumerate(lines):
        pieces = min(wanted, line.left) if line.sku == sku else 0
        if pieces:
            lines[position] = replace(line, returned=line.returned + pieces)
            taken.append(OrderLine(sku, pieces, line.price_pence))
            wanted -= pieces
    return wanted


def take_back(sold: Sequence[SoldLine], lines: Iterable[OrderLine]) -> tuple[SoldLine, ...]:
    """An order's lines when goods of it come back at the prices paid. Raises `NotSold` where that much is not left."""
    standing = list(sold)
    for wanted in lines:
        left = wanted.quantity
        for position, line in enumerate(standing):
            pieces = min(left, line.left) if (line.sku, line.price_pence) == (wanted.sku, wanted.price_pence) else 0
            if pieces:
                standing[position] = replace(line, returned=line.returned + pieces)
                left -= pieces
        if left:
            raise NotSold(wanted.sku)
    return tuple(standing)
