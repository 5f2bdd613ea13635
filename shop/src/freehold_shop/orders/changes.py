"""What a batch of an order's events comes to in a table with a row an order: each row is written once, as it ends up.

For the read models of orders. Imports the events and rules of orders, and Freehold's projections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from freehold import DecodedEvent, stamp_time
from freehold.eventstore import RecordedEvent
from freehold_shop.moments import milliseconds
from freehold_shop.orders.contracts import OrderCancelled, OrderConfirmed, OrderPlaced, OrderReturned
from freehold_shop.orders.domain import OrderStatus
from freehold_shop.orders.history import OrderDelivered, OrderPaymentHeld, OrderShipped, OrderStockReserved

__all__ = ["STANDING_EVENTS", "Changes", "Standing", "moment_of"]

STANDING_EVENTS: Final = (
    OrderPlaced,
    OrderStockReserved,
    OrderPaymentHeld,
    OrderConfirmed,
    OrderShipped,
    OrderDelivered,
    OrderCancelled,
    OrderReturned,
)
"""The events that an order's status follows from."""

_STATUSES: Final[dict[type, OrderStatus]] = {
    OrderStockReserved: OrderStatus.STOCK_RESERVED,
    OrderPaymentHeld: OrderStatus.PAYMENT_HELD,
    OrderConfirmed: OrderStatus.CONFIRMED,
    OrderShipped: OrderStatus.SHIPPED,
    OrderDelivered: OrderStatus.DELIVERED,
    OrderCancelled: OrderStatus.CANCELLED,
}
_ENDS: Final = frozenset({OrderStatus.CONFIRMED, OrderStatus.CANCELLED})


@dataclass(slots=True)
class Standing:
    """How an order stands after a batch; None is what the batch says nothing about. `spared` are statuses that are not
    taken back: a parcel that is delivered does not undo a return.
    """

    status: OrderStatus
    spared: tuple[OrderStatus, OrderStatus]
    reason: str | None = None
    ended_at_ms: int | None = None


@dataclass(slots=True)
class Changes:
    """New orders with the time they were taken, and how all that the batch is about stand after it."""

    placed: list[tuple[OrderPlaced, int]] = field(default_factory=list)
    standings: dict[str, Standing] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Sequence[DecodedEvent]) -> Changes:
        """Read a batch; events that an order's status does not follow from are passed over."""
        changes = cls()
        for event, recorded in batch:
            if isinstance(event, OrderPlaced):
                changes.placed.append((event, moment_of(recorded)))
            elif isinstance(event, OrderReturned):
                status = OrderStatus.RETURNED if event.complete else OrderStatus.PARTIALLY_RETURNED
                changes._stands(event.order_id, status, (OrderStatus.CANCELLED, OrderStatus.CANCELLED))
            elif type(event) in _STATUSES:
                changes._moves(event, recorded)
        return changes

    def _moves(self, event: OrderStockReserved | OrderConfirmed | OrderCancelled, recorded: RecordedEvent) -> None:
        status = _STATUSES[type(event)]
        spared = (OrderStatus.PARTIALLY_RETURNED, OrderStatus.RETURNED)
        known = self.standings.get(event.order_id)
        if known is None or known.status not in spared:
            known = self._stands(event.order_id, status, spared)
        if status in _ENDS:
            known.ended_at_ms = moment_of(recorded)
        if isinstance(event, OrderCancelled):
            known.reason = event.reason

    def _stands(self, order_id: str, status: OrderStatus, spared: tuple[OrderStatus, OrderStatus]) -> Standing:
        known = self.standings.setdefault(order_id, Standing(status, spared))
        if known.status is not OrderStatus.CANCELLED:
            known.status, known.spared = status, spared
        return known


def moment_of(recorded: RecordedEvent) -> int:
    """When an event was decided on, in milliseconds: part of the event, so that it is the same at every reading."""
    return milliseconds(stamp_time(recorded.event.hlc))
