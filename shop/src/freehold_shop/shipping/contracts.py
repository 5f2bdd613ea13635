"""Commands to and events of shipping. Imports the messages of Freehold only; the only module others may import.

Rejections: `undeliverable`, where the customer has no address.
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
    """Prepare the parcel, with the customer's address in shipping's replica. The reply: `ShipmentCreated`."""

    order_id: str
    customer_id: str


@command("shipping.cancel-shipment", version=1, key="order_id")
class CancelShipment:
    """Cancel the parcel. No effect where none is prepared."""

    order_id: str


@event("shipping.shipment-created", version=1, key="order_id")
class ShipmentCreated:
    """The parcel is prepared."""

    order_id: str
    shipment_id: str


@event("shipping.shipment-failed", version=1, key="order_id")
class ShipmentFailed:
    """There will be no parcel, for `reason`."""

    order_id: str
    reason: str


@event("shipping.shipment-dispatched", version=1, key="order_id")
class ShipmentDispatched:
    """The carrier has the parcel; it cannot be cancelled any more."""

    order_id: str


@event("shipping.shipment-delivered", version=1, key="order_id")
class ShipmentDelivered:
    """The customer has the parcel."""

    order_id: str


@event("shipping.shipment-changed", version=1, key="order_id")
class ShipmentChanged:
    """The status of a parcel after a command or a cancellation, where no other event reports it. For read models."""

    order_id: str
    status: str
