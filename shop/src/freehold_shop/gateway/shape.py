"""The document of a customer's 360, the same from the composition and from the read model.

Both must agree on the parts named by `PARTS`; two documents of one customer are compared part by part, field by field.
Imports msgspec only.

Lists have one order, so that equal content is an equal document:

orders          newest first: by `placed_at_ms`, greatest first, then by `order_id`; the newest `ORDERS_MAX` at most
payments        by `order_id`, for the orders listed; an order without a payment (yet) has none
shipments       by `order_id`, for the orders listed
notifications   by `order_id`, then by `kind`, for the orders listed
holds           by `order_id`: reservations that are held now; their lines by `sku`

A part that is not known is None and named in `missing`; a part without rows is an empty list.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = [
    "ORDERS_MAX",
    "PARTS",
    "SENT",
    "Country",
    "Customer360",
    "Hold",
    "HoldLine",
    "Missing",
    "Notification",
    "Order",
    "Payment",
    "Product",
    "Profile",
    "Shipment",
]

ORDERS_MAX: Final = 1_000
SENT: Final = "sent"
PARTS: Final = ("profile", "orders", "payments", "shipments", "notifications", "holds")
"""The parts that are compared between composition and read model; it has no names of countries and products."""


class Profile(msgspec.Struct, frozen=True):
    """The customer, from users. `country` is an ISO 3166 code."""

    customer_id: str
    name: str
    email: str
    country: str


class Order(msgspec.Struct, frozen=True):
    """An order, from orders."""

    order_id: str
    status: str
    total_pence: int
    currency: str
    placed_at_ms: int


class Payment(msgspec.Struct, frozen=True):
    """The payment of an order, from payments."""

    order_id: str
    status: str
    amount_pence: int
    captured_pence: int
    refunded_pence: int


class Shipment(msgspec.Struct, frozen=True):
    """The parcel of an order, from shipping."""

    order_id: str
    status: str


class Notification(msgspec.Struct, frozen=True):
    """A message to the customer. `kind` is the template's name; `state` is always `SENT`."""

    order_id: str
    kind: str
    state: str = SENT


class HoldLine(msgspec.Struct, frozen=True):
    """The quantity of a product that is held."""

    sku: str
    quantity: int


class Hold(msgspec.Struct, frozen=True):
    """Goods that inventory holds for an order that is not confirmed."""

    order_id: str
    lines: list[HoldLine]


class Country(msgspec.Struct, frozen=True):
    """The country of the profile, from the reference data."""

    code: str
    name: str


class Product(msgspec.Struct, frozen=True):
    """The description of a product that is held, from the catalog."""

    sku: str
    description: str


class Missing(msgspec.Struct, frozen=True):
    """A part that could not be read, its service, and the reason.

    `reason` is one of `timeout`, `unavailable`, `circuit-open`, `refused`, `budget`, or `depends-on X`, X being a part.
    """

    part: str
    service: str
    reason: str


class Customer360(msgspec.Struct, frozen=True):
    """Everything about a customer. `country` and `products` (by sku) have the names for codes in the other parts.

    `stale` names the parts that come from an expired cache entry because their service does not answer.
    """

    customer_id: str
    profile: Profile | None
    orders: list[Order] | None
    payments: list[Payment] | None
    shipments: list[Shipment] | None
    notifications: list[Notification] | None
    holds: list[Hold] | None
    country: Country | None = None
    products: list[Product] | None = None
    missing: list[Missing] = []
    stale: list[str] = []
