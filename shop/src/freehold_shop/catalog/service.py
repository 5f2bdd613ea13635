"""The catalog: products and their prices, published as events. Imports Freehold and its own modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import select, update

from freehold import Service
from freehold.transaction import Transaction
from freehold_shop.catalog.contracts import ProductChanged, ProductListed
from freehold_shop.catalog.tables import MIGRATIONS, product
from freehold_shop.money import Money
from freehold_shop.upsert import insert_missing

__all__ = ["ProductData", "catalog", "change_product", "list_products"]

catalog = Service("catalog", migrations=MIGRATIONS)


@dataclass(frozen=True, slots=True)
class ProductData:
    """What a product is and costs."""

    sku: str
    description: str
    price_pence: int
    currency: str


async def list_products(tx: Transaction, wanted: Sequence[ProductData]) -> int:
    """List the products that are not listed yet, and publish them; returns how many. The others do not change."""
    if not wanted:
        return 0
    by_sku = {each.sku: each for each in wanted}
    rows = [{**asdict(by_sku[sku]), "revision": 1} for sku in sorted(by_sku)]
    new_skus = await insert_missing(tx.connection, product, rows)
    for sku in sorted(new_skus):
        new = by_sku[sku]
        tx.publish(ProductListed(sku, new.description, Money(new.price_pence, new.currency), revision=1))
    return len(new_skus)


async def change_product(tx: Transaction, wanted: ProductData) -> bool:
    """Change a product's description and price, and publish the change. False: there is no such product."""
    changed = await tx.connection.execute(
        update(product)
        .where(product.c.sku == wanted.sku)
        .values(
            description=wanted.description,
            price_pence=wanted.price_pence,
            currency=wanted.currency,
            revision=product.c.revision + 1,
        )
    )
    if not changed.rowcount:
        return False
    # The row stays locked until the commit, so this reads what was just written.
    found = await tx.connection.execute(select(product.c.revision).where(product.c.sku == wanted.sku))
    price = Money(wanted.price_pence, wanted.currency)
    tx.publish(ProductChanged(wanted.sku, wanted.description, price, found.scalar_one()))
    return True
