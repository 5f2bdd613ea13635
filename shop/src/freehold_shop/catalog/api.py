"""The HTTP API of the catalog. Imports FastAPI and its own modules."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from freehold.http import Tx
from freehold.runtime import RunningService
from freehold_shop.catalog.service import ProductData, change_product, list_products
from freehold_shop.fields import Body, CurrencyCode, Key, PricePence, Sku, Text
from freehold_shop.problems import not_found
from freehold_shop.queries import places, read, read_one

__all__ = ["routes"]

_PRODUCT = ("sku", "description", "price_pence", "currency", "revision")


class Description(Body):
    """What a product is and costs."""

    description: Text
    price_pence: PricePence
    currency: CurrencyCode = "GBP"

    def data(self, sku: str) -> ProductData:
        """The same as the service's type."""
        return ProductData(sku, self.description, self.price_pence, self.currency)


class NewProduct(Description):
    """A product to list."""

    sku: Sku


class ManyProducts(Body):
    """Products to list where they are not listed yet."""

    products: Annotated[list[NewProduct], Field(max_length=5_000)]


class Wanted(Body):
    """A query: the products with these SKUs."""

    skus: Annotated[list[Key], Field(max_length=5_000)]


def routes(running: RunningService) -> APIRouter:
    """The routes of the API on a running service."""
    router = APIRouter()

    @router.post("/products/bulk")
    async def list_many(body: ManyProducts, tx: Tx) -> dict[str, int]:
        wanted = [each.data(each.sku) for each in body.products]
        listed = await list_products(tx, wanted)
        return {"listed": listed, "known": len(wanted) - listed}

    @router.post("/products/query")
    async def show_many(body: Wanted) -> list[dict[str, Any]]:
        return await read(running, _PRODUCT, f"FROM product WHERE sku IN ({places(body.skus)})", body.skus)

    @router.put("/products/{sku:path}")
    async def change_one(sku: Key, body: Description, tx: Tx) -> dict[str, str]:
        if not await change_product(tx, body.data(sku)):
            raise not_found("product")
        return {"sku": sku}

    @router.get("/products/{sku:path}")
    async def show_one(sku: Key) -> Any:
        found = await read_one(running, _PRODUCT, "FROM product WHERE sku = $1", [sku])
        if found is None:
            raise not_found("product")
        return found

    return router
