"""The eight fields of a row, from text to values, and the rules by which a row is part of an order or not.

The checks run in this order, and the first that fails gives the reason: invoice, stock code, form of every other field,
customer, quantity, price. Money is read as `Decimal` into whole pence, never through a float. Imports the standard
library, the retail model and the rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from freehold_shop.retail.model import RejectReason
from freehold_shop.rules import PENCE_MAX, UNIT_PRICE_PENCE_MAX, is_sku, is_time

__all__ = ["DESCRIPTION_LENGTH_MAX", "QUANTITY_MAX", "UNIT_PRICE_PENCE_MAX", "BadRow", "Row", "parse_row"]

QUANTITY_MAX = 10_000_000
DESCRIPTION_LENGTH_MAX = 500
STOCK_CODE_LENGTH_MAX = 64
COUNTRY_LENGTH_MAX = 64
UNSPECIFIED_COUNTRY = "Unspecified"
"""The data set's word for an unknown country."""

# Letters and digits only: the part number of an order follows a hyphen.
_INVOICE = re.compile(r"[A-Za-z0-9]{1,20}")
_CUSTOMER = re.compile(r"(?P<number>[0-9]{1,18})(?:\.0*)?|(?P<name>[A-Za-z0-9_-]{1,32})")
_NO_CUSTOMER = frozenset({"", "nan", "null", "none", "n/a", "na"})
# A spreadsheet writes a column of whole numbers that has gaps as 6.0.
_QUANTITY = re.compile(r"(-?[0-9]{1,12})(?:\.0*)?")
_PRICE = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{0,15})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2})?")


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is part of an order, or with `is_return` of a return. `quantity` is always positive.

    `description` is empty where the file has none.
    """

    invoice: str
    is_return: bool
    stock_code: str
    description: str
    quantity: int
    at: datetime
    unit_price_pence: int
    customer_ref: str
    country: str


class BadRow(Exception):
    """A row that cannot be part of an order."""

    def __init__(self, reason: RejectReason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def parse_row(fields: list[str]) -> Row:
    """Read the eight fields; raises `BadRow`."""
    invoice, stock_code, description, quantity, at, price, customer, country = (text.strip() for text in fields)
    if not invoice:
        raise BadRow(RejectReason.NO_INVOICE)
    if not stock_code:
        raise BadRow(RejectReason.NO_STOCK_CODE)
    if not _INVOICE.fullmatch(invoice):
        raise _broken("the invoice number has other characters than letters and digits, or is too long")
    _check_length("stock code", stock_code, STOCK_CODE_LENGTH_MAX)
    _check_length("description", description, DESCRIPTION_LENGTH_MAX)
    _check_length("country", country, COUNTRY_LENGTH_MAX)
    if not is_sku(stock_code):
        raise _broken("the stock code has a control character, or cannot be part of a path")
    if _CONTROL.search(country):
        raise _broken("the country has a control character")
    invoice = invoice.upper()
    is_return = invoice.startswith("C")
    signed_quantity = _parse_quantity(quantity)
    placed_at = _parse_time(at)
    amount = _parse_price(price)
    customer_ref = _parse_customer(customer)
    _check_rules(signed_quantity, amount, is_return=is_return)
    if abs(signed_quantity) * amount > PENCE_MAX:
        raise _broken(f"the amount is beyond {PENCE_MAX} pence")
    return Row(
        invoice=invoice,
        is_return=is_return,
        stock_code=stock_code,
        description=" ".join(description.split()) if "\n" in description else description,
        quantity=abs(signed_quantity),
        at=placed_at,
        unit_price_pence=int(amount),
        customer_ref=customer_ref,
        country=country or UNSPECIFIED_COUNTRY,
    )


def _check_rules(signed_quantity: int, price_pence: Decimal, *, is_return: bool) -> None:
    if is_return and signed_quantity >= 0:
        raise BadRow(RejectReason.NON_NEGATIVE_RETURN_QUANTITY)
    if not is_return and signed_quantity <= 0:
        raise BadRow(RejectReason.NON_POSITIVE_QUANTITY)
    if price_pence <= 0:
        raise BadRow(RejectReason.NON_POSITIVE_PRICE)
    if price_pence != price_pence.to_integral_value():
        raise BadRow(RejectReason.SUB_PENNY_PRICE)


def _parse_quantity(text: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise _broken("the quantity is no whole number")
    quantity = int(match[1])
    if abs(quantity) > QUANTITY_MAX:
        raise _broken(f"the quantity is beyond {QUANTITY_MAX}")
    return quantity


def _parse_price(text: str) -> Decimal:
    """The price in pence, possibly with a fraction."""
    if not _PRICE.fullmatch(text):
        raise _broken("the price is no decimal number")
    # A price may have 30 digits, more than the context's precision: scaleb would round, shifting the exponent does not.
    sign, digits, exponent = Decimal(text).as_tuple()
    pence = Decimal((sign, digits, int(exponent) + 2))
    if abs(pence) > UNIT_PRICE_PENCE_MAX:
        raise _broken(f"the price is beyond {UNIT_PRICE_PENCE_MAX} pence")
    return pence


def _parse_time(text: str) -> datetime:
    if not _TIME.fullmatch(text):
        raise _broken("the date is not of the form 2010-12-01 08:26:00")
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        raise _broken("the date does not exist") from error
    if not is_time(moment):
        raise _broken("the date is before 1970, or after 2199")
    return moment


def _parse_customer(text: str) -> str:
    if text.lower() in _NO_CUSTOMER:
        raise BadRow(RejectReason.NO_CUSTOMER)
    match = _CUSTOMER.fullmatch(text)
    if match is None:
        raise _broken("the customer is neither a number nor a name")
    number: str | None = match["number"]
    return number if number is not None else match["name"]


def _check_length(name: str, text: str, length_max: int) -> None:
    if len(text) > length_max:
        raise _broken(f"the {name} is longer than {length_max} characters")


def _broken(detail: str) -> BadRow:
    return BadRow(RejectReason.BROKEN_LINE, detail)
