"""The rules of stock: the movements and their effects, the states of a reservation. Imports the contracts only."""

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
    "RESTOCK",
    "Movement",
    "MovementReason",
    "ReservationStatus",
    "lines_document",
    "merge_lines",
]

INSUFFICIENT_STOCK = "insufficient-stock"


class ReservationStatus(StrEnum):
    """The status of a reservation. `held` moves on; `refused`: never held; `lost`: no stock left after it expired."""

    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"
    REFUSED = "refused"
    LOST = "lost"


class MovementReason(StrEnum):
    """Why stock moved, as stored in the ledger."""

    RECEIVED = "received"
    RESERVED = "reserved"
    RELEASED = "released"
    EXPIRED = "expired"
    COMMITTED = "committed"
    COMMITTED_LATE = "committed-late"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Movement:
    """A change of stock: the factors of a line's quantity for `on_hand` and `reserved`."""

    reason: MovementReason
    on_hand: int
    reserved: int


RECEIVE = Movement(MovementReason.RECEIVED, on_hand=1, reserved=0)
RESERVE = Movement(MovementReason.RESERVED, on_hand=0, reserved=1)
RELEASE = Movement(MovementReason.RELEASED, on_hand=0, reserved=-1)
EXPIRE = Movement(MovementReason.EXPIRED, on_hand=0, reserved=-1)
COMMIT = Movement(MovementReason.COMMITTED, on_hand=-1, reserved=-1)
COMMIT_LATE = Movement(MovementReason.COMMITTED_LATE, on_hand=-1, reserved=0)
RESTOCK = Movement(MovementReason.RETURNED, on_hand=1, reserved=0)


def merge_lines(lines: Iterable[StockLine]) -> tuple[StockLine, ...]:
    """One line a product, ordered by sku: all transactions lock stock in this order, so there is no deadlock."""
    quantities: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        quantities[line.sku] += line.quantity
    return tuple(StockLine(sku, quantities[sku]) for sku in sorted(quantities))


def lines_document(lines: Iterable[StockLine]) -> str:
    """Lines as the JSON document that the SQL statements take: `[["85123A", 6], …]`."""
    return json.dumps([[line.sku, line.quantity] for line in lines], separators=(",", ":"))
