"""The rules of shipping. Imports the standard library only."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["UNDELIVERABLE", "ShipmentStatus", "is_deliverable"]

UNDELIVERABLE = "undeliverable"


class ShipmentStatus(StrEnum):
    """The status of a shipment. `barred`: the order was cancelled before the parcel was requested.

    From `dispatched` on the carrier has it, and it cannot be cancelled.
    """

    CREATED = "created"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    BARRED = "barred"
    FAILED = "failed"


def is_deliverable(country: str, address: str) -> bool:
    """Whether a parcel can be sent there: the country and the address are not empty."""
    return bool(country.strip() and address.strip())
