"""The changes that a batch of events makes in a table with one row an order, so that each row is written once.

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

__all__ = ["STATUS_EVENTS", "Changes", "StatusChange", "moment_of"]

STATUS_EVENTS: Final = (
    OrderPlaced,
    OrderStockReserved,
    OrderPaymentHeld,
    OrderConfirmed,
    OrderShipped,
    OrderDelivered,
    OrderCancelled,
    OrderReturned,
)
"""The events that change an order's status."""

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
class StatusChange:
    """An order's status after a batch. None: the batch does not change the field.

    A row whose status is one of `spared` keeps it: a delivered parcel does not revert a return.
    """

    status: OrderStatus
    spared: tuple[OrderStatus, OrderStatus]
    reason: str | None = None
    ended_at_ms: int | None = None


@dataclass(slots=True)
class Changes:
    """The new orders of a batch, with the time they were accepted, and the status change of each of its orders."""

    placed: list[tuple[OrderPlaced, int]] = field(default_factory=list)
    statuses: dict[str, StatusChange] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Sequence[DecodedEvent]) -> Changes:
        """The changes of a batch; events that do not change a status are ignored."""
        changes = cls()
        for event, recorded in batch:
            if isinstance(event, OrderPlaced):
                changes.placed.append((event, moment_of(recorded)))
            elif isinstance(event, OrderReturned):
                status = OrderStatus.RETURNED if event.complete else OrderStatus.PARTIALLY_RETURNED
                changes._set(event.order_id, status, (OrderStatus.CANCELLED, OrderStatus.CANCELLED))
            elif type(event) in _STATUSES:
                changes._advance(event, recorded)
        return changes

    def _advance(self, event: OrderStockReserved | OrderConfirmed | OrderCancelled, recorded: RecordedEvent) -> None:
        status = _STATUSES[type(event)]
        spared = (OrderStatus.PARTIALLY_RETURNED, OrderStatus.RETURNED)
        known = self.statuses.get(event.order_id)
        if known is None or known.status not in spared:
            known = self._set(event.order_id, status, spared)
        if status in _ENDS:
            known.ended_at_ms = moment_of(recorded)
        if isinstance(event, OrderCancelled):
            known.reason = event.reason

    def _set(self, order_id: str, status: OrderStatus, spared: tuple[OrderStatus, OrderStatus]) -> StatusChange:
        known = self.statuses.setdefault(order_id, StatusChange(status, spared))
        if known.status is not OrderStatus.CANCELLED:
            known.status, known.spared = status, spared
        return known


def moment_of(recorded: RecordedEvent) -> int:
    """When an event was decided, in milliseconds: from its stamp, so that it is the same at every read."""
    return milliseconds(stamp_time(recorded.event.hlc))
