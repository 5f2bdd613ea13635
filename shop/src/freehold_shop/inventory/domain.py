"""The rules of stock: what moves in which way, and when an order cannot be served. Imports the contracts only."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from freehold_shop.inventory.contracts import StockLine

__all__ = [
    "COMMIT",
    "COMMIT_LATE",
    "EXPIRE",
    "INSUFFICIENT_STOCK",
    "RECEIVE",
    "RELEASE",
    "RESERVE",
    "TAKE_BACK",
    "Movement",
    "MovementReason",
    "ReservationStatus",
    "lines_document",
    "merge_lines",
]

INSUFFICIENT_STOCK = "insufficient-stock"


class ReservationStatus(StrEnum):
    """Where a reservation is. All but `held` are terminal; `refused`: never held, `lost`: expired, then confirmed."""

    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"
    REFUSED = "refused"
    LOST = "lost"


class MovementReason(StrEnum):
    """Why stock moved; the ledger's word."""

    RECEIVED = "received"
    RESERVED = "reserved"
    RELEASED = "released"
    EXPIRED = "expired"
    COMMITTED = "committed"
    COMMITTED_LATE = "committed-late"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Movement:
    """A change of stock: each piece of a line counts so often into `on_hand` and into `reserved`."""

    reason: MovementReason
    on_hand: int
    reserved: int


RECEIVE = Movement(MovementReason.RECEIVED, on_hand=1, reserved=0)
RESERVE = Movement(MovementReason.RESERVED, on_hand=0, reserved=1)
RELEASE = Movement(MovementReason.RELEASED, on_hand=0, reserved=-1)
EXPIRE = Movement(MovementReason.EXPIRED, on_hand=0, reserved=-1)
COMMIT = Movement(MovementReason.COMMITTED, on_hand=-1, reserved=-1)
COMMIT_LATE = Movement(MovementReason.COMMITTED_LATE, on_hand=-1, reserved=0)
TAKE_BACK = Movement(MovementReason.RETURNED, on_hand=1, reserved=0)


def merge_lines(lines: Iterable[StockLine]) -> tuple[StockLine, ...]:
    """One line a product, ordered by sku: everybody locks stock in this order, so nobody waits in a circle."""
    quantities: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        quantities[line.sku] += line.quantity
    return tuple(StockLine(sku, quantities[sku]) for sku in sorted(quantities))


def lines_document(lines: Iterable[StockLine]) -> str:
    """Lines as the database's statements take them: `[["85123A", 6], …]`."""
    return json.dumps([[line.sku, line.quantity] for line in lines], separators=(",", ":"))
