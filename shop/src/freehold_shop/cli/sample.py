"""The shop's own sample data: invented products, customers and orders. Imports the standard library.

Orders are drawn from the random generator that the caller gives, so the same seed gives the same orders.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CUSTOMERS", "PRODUCTS", "intake", "order", "receipt"]

_PIECES_PER_RECEIPT = 400


@dataclass(frozen=True, slots=True)
class SampleProduct:
    """A product. Stock of a scarce one does not cover the demand, so that some orders are cancelled."""

    sku: str
    description: str
    price_pence: int
    scarce: bool = False


_GOODS = (
    ("ENAMEL MUG, BLUE RIM", 650),
    ("BEESWAX CANDLE", 420),
    ("LINEN TEA TOWEL", 895),
    ("OAK CHOPPING BOARD", 2450),
    ("POCKET NOTEBOOK, RULED", 375),
    ("BRASS PENCIL SHARPENER", 540),
    ("WOOL BLANKET, GREY", 6900),
    ("STONEWARE BOWL", 1250),
    ("COPPER KETTLE", 8400),
    ("SEED TIN, WILD FLOWERS", 295),
    ("GARDEN TWINE", 350),
    ("FOLDING RULER", 1120),
    ("DESK LAMP, GREEN SHADE", 5600),
    ("COTTON APRON", 1890),
    ("PICNIC BASKET", 4750),
    ("WOODEN SPINNING TOP", 480),
    ("KITE, RED", 1650),
    ("TIN WHISTLE", 720),
    ("MARMALADE, SEVILLE", 385),
    ("LOOSE TEA, ASSAM", 560),
    ("HAND BELL", 2300),
    ("BOOK PRESS", 9800),
)
_FIRST = ("Ada", "Bruno", "Clara", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas")
_LAST = ("Abbott", "Brandt", "Castell", "Dunne")
_COUNTRIES = ("GB", "GB", "GB", "FR", "DE", "IE", "NL", "ES")

PRODUCTS: Sequence[SampleProduct] = tuple(
    SampleProduct(f"SAMPLE-{number:03d}", text, price_pence, scarce=number % 11 == 0)
    for number, (text, price_pence) in enumerate(_GOODS, 1)
)
CUSTOMERS: Sequence[dict[str, str]] = tuple(
    {
        "customer_id": f"sample-{number:03d}",
        "name": f"{first} {last}",
        "email": f"{first}.{last}@example.org".lower(),
        "country": _COUNTRIES[number % len(_COUNTRIES)],
        "address": f"{number} Market Street",
    }
    for number, (first, last) in enumerate(((first, last) for last in _LAST for first in _FIRST), 1)
)


def receipt(reference: str) -> dict[str, Any]:
    """A stock receipt of every product: few pieces of the scarce ones."""
    lines = [{"sku": each.sku, "quantity": 5 if each.scarce else _PIECES_PER_RECEIPT} for each in PRODUCTS]
    return {"receipt_ref": reference, "lines": lines}


def intake(reference: str) -> dict[str, Any]:
    """All products and customers, and a first stock receipt."""
    products = [
        {"sku": each.sku, "description": each.description, "price_pence": each.price_pence} for each in PRODUCTS
    ]
    return {"products": products, "customers": list(CUSTOMERS), "stock": receipt(reference)}


def order(source: random.Random) -> dict[str, Any]:
    """An order of one customer, for one to four products."""
    chosen = source.sample(PRODUCTS, source.randint(1, 4))
    lines = [
        {"sku": each.sku, "quantity": source.randint(1, 3), "price_pence": each.price_pence}
        for each in sorted(chosen, key=lambda product: product.sku)
    ]
    return {"customer_id": source.choice(CUSTOMERS)["customer_id"], "lines": lines}
