"""What the catalog publishes. Imports the messages of Freehold and money; the only module others may import."""

from __future__ import annotations

from freehold.messages import event
from freehold_shop.money import Money

__all__ = ["ProductChanged", "ProductListed"]


@event("catalog.product-listed", version=1, key="sku")
class ProductListed:
    """A product can be bought."""

    sku: str
    description: str
    price: Money
    revision: int


@event("catalog.product-changed", version=1, key="sku")
class ProductChanged:
    """A product's description or price changed; these are the new ones. Orders already placed keep their price."""

    sku: str
    description: str
    price: Money
    revision: int
