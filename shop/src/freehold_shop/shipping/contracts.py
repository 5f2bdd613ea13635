"""Commands to and events of shipping. Imports the messages of Freehold only; the only module others may import.

Refusals: `undeliverable`, where the customer has no address.
"""

from __future__ import annotations

from freehold.messages import command, event

__all__ = [
    "CancelShipment",
    "CreateShipment",
    "ShipmentChanged",
    "ShipmentCreated",
    "ShipmentDelivered",
    "ShipmentDispatched",
    "ShipmentFailed",
]


@command("shipping.create-shipment", version=1, key="order_id")
class CreateShipment:
    """Prepare the parcel, to the address of the customer as shipping knows it. Answered by `ShipmentCreated`."""

    order_id: str
    customer_id: str


@command("shipping.cancel-shipment", version=1, key="order_id")
class CancelShipment:
    """Do not send the parcel. Nothing prepared: nothing happens."""

    order_id: str


@event("shipping.shipment-created", version=1, key="order_id")
class ShipmentCreated:
    """The parcel is prepared."""

    order_id: str
    shipment_id: str


@event("shipping.shipment-failed", version=1, key="order_id")
class ShipmentFailed:
    """There will be no parcel, for this reason."""

    order_id: str
    reason: str


@event("shipping.shipment-dispatched", version=1, key="order_id")
class ShipmentDispatched:
    """The carrier has taken the parcel; it cannot be stopped any more."""

    order_id: str


@event("shipping.shipment-delivered", version=1, key="order_id")
class ShipmentDelivered:
    """The customer has the parcel."""

    order_id: str


@event("shipping.shipment-changed", version=1, key="order_id")
class ShipmentChanged:
    """How a parcel stands where no other event tells it: what came of a command, or of a cancellation. For copies."""

    order_id: str
    status: str
