"""The carrier's reports about parcels, each in the caller's transaction. Imports the rules, contracts.

A parcel is dispatched once, and only after its goods are committed: from then on nothing cancels the order.
"""

from __future__ import annotations

from freehold.transaction import Transaction
from freehold_shop.moments import moment_ms
from freehold_shop.shipping.contracts import ShipmentDelivered, ShipmentDispatched
from freehold_shop.shipping.domain import ShipmentStatus

__all__ = ["deliver", "dispatch"]

_MOVE = "UPDATE shipment SET status = $3, changed_at_ms = $2 WHERE order_id = $1 AND status = $4"


async def dispatch(tx: Transaction, order_id: str) -> bool:
    """Note that the carrier has the parcel. False: it is not waiting for the carrier."""
    if not await _move(tx, order_id, ShipmentStatus.CREATED, ShipmentStatus.DISPATCHED):
        return False
    tx.publish(ShipmentDispatched(order_id))
    return True


async def deliver(tx: Transaction, order_id: str) -> bool:
    """Note that the customer has the parcel. False: the carrier does not have it."""
    if not await _move(tx, order_id, ShipmentStatus.DISPATCHED, ShipmentStatus.DELIVERED):
        return False
    tx.publish(ShipmentDelivered(order_id))
    return True


async def _move(tx: Transaction, order_id: str, before: ShipmentStatus, after: ShipmentStatus) -> bool:
    return bool(await tx.sql.execute(_MOVE, (order_id, moment_ms(tx), after.value, before.value)))
