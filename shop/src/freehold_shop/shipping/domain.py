"""The rules of shipping. Imports the standard library only."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["UNDELIVERABLE", "ShipmentStatus", "is_deliverable"]

UNDELIVERABLE = "undeliverable"


class ShipmentStatus(StrEnum):
    """Where a shipment is. `barred`: the order was cancelled before the parcel was asked for.

    From `dispatched` on the carrier has it, and nothing stops it.
    """

    CREATED = "created"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    BARRED = "barred"
    FAILED = "failed"


def is_deliverable(country: str, address: str) -> bool:
    """Whether a parcel can be sent there: somewhere in a country."""
    return bool(country.strip() and address.strip())
