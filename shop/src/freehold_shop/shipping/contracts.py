"""Commands to and events of shipping. Imports the messages of Freehold only; the only module others may import.

Refusals: `undeliverable`, where the customer has no address.
"""

from __future__ import annotations

from freehold.messages import command, event

__all__ = ["CancelShipment", "CreateShipment", "ShipmentCreated", "ShipmentFailed"]


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
