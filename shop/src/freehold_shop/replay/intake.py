"""What the shop must have before orders can be placed: products, customers, and enough stock.

A bounded number of products and customers that were sent is remembered; sending one again changes nothing. Imports the
retail model and Freehold's ids.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from freehold import derive_id
from freehold_shop.replay.feed import Order
from freehold_shop.retail import Sale, SaleLine
from freehold_shop.retail.countries import DATA_CURRENCY, country_by_name
from freehold_shop.rules import QUANTITY_MAX

__all__ = ["REMEMBERED_MAX", "Intake", "order_lines"]

REMEMBERED_MAX = 50_000
UNSPECIFIED_COUNTRY_CODE = "ZZ"


class Intake:
    """Makes the intake of each chunk of orders."""

    def __init__(self) -> None:
        self._skus = _Remembered(REMEMBERED_MAX)
        self._customers = _Remembered(REMEMBERED_MAX)

    def of(self, orders: Sequence[Order]) -> dict[str, Any]:
        """What these orders need and the shop may not have. Empty where they need nothing.

        The receipt's reference is derived from its orders, so that it is received once however often it is sent, also
        in another run of the same files.
        """
        lines = [line for order in orders for line in order.lines]
        products = [_product(line) for line in lines if self._skus.is_new(line.stock_code)]
        customers = [_customer(order) for order in orders if self._customers.is_new(order.customer_ref)]
        pieces: Counter[str] = Counter()
        sales = [order for order in orders if isinstance(order, Sale)]
        for sale in sales:
            for line in sale.lines:
                pieces[line.stock_code] += line.quantity
        intake: dict[str, Any] = {}
        if products:
            intake["products"] = products
        if customers:
            intake["customers"] = customers
        if pieces:
            reference = derive_id("replay-stock", *(sale.order_ref for sale in sales))
            wanted = [{"sku": sku, "quantity": part} for sku, quantity in pieces.items() for part in _parts(quantity)]
            intake["stock"] = {"receipt_ref": str(reference), "lines": wanted}
        return intake


class _Remembered:
    """The most recent keys, up to a bound."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._keys: OrderedDict[str, None] = OrderedDict()

    def is_new(self, key: str) -> bool:
        if key in self._keys:
            self._keys.move_to_end(key)
            return False
        self._keys[key] = None
        if len(self._keys) > self._bound:
            self._keys.popitem(last=False)
        return True


def order_lines(lines: Iterable[SaleLine]) -> list[dict[str, Any]]:
    """The lines of an order in the API's form."""
    return [{"sku": line.stock_code, "quantity": line.quantity, "price_pence": line.unit_price_pence} for line in lines]


def _parts(quantity: int) -> Iterator[int]:
    """A quantity in parts that are within the limit of a receipt's line."""
    for begun in range(0, quantity, QUANTITY_MAX):
        yield min(QUANTITY_MAX, quantity - begun)


def _product(line: SaleLine) -> dict[str, Any]:
    return {
        "sku": line.stock_code,
        "description": line.description,
        "price_pence": line.unit_price_pence,
        "currency": DATA_CURRENCY,
    }


def _customer(order: Order) -> dict[str, Any]:
    """The customer of an order: the file has a number and a country; the rest is invented from them."""
    country = country_by_name(order.country)
    return {
        "customer_id": order.customer_ref,
        "name": f"Customer {order.customer_ref}",
        "email": f"customer-{order.customer_ref}@example.com",
        "country": country.code if country is not None else UNSPECIFIED_COUNTRY_CODE,
        "address": f"{order.customer_ref} Example Street, {order.country}",
    }
