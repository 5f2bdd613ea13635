"""The bounds of ids, product codes, names, amounts and times, for the shop's APIs and files alike.

Imports the standard library only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

__all__ = [
    "EMAIL",
    "IDENTITY",
    "KEY",
    "NAME",
    "NEW_IDENTITY",
    "NEW_ORDER_ID",
    "PENCE_MAX",
    "QUANTITY_MAX",
    "SKU",
    "TEXT",
    "TIME_FIRST",
    "TIME_LAST",
    "UNIT_PRICE_PENCE_MAX",
    "is_sku",
    "is_time",
]

_CONTROL: Final = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
_END: Final = r"$(?!\n)"  # Python's `$` also matches before a last line feed
_SEPARATOR: Final = "(?:/|%(?:25)*(?:2[fF]|5[cC]))"
_DOT: Final = r"(?:\.|%(?:25)*2[eE])"

KEY: Final = rf"^[^{_CONTROL}]{{1,64}}{_END}"
"""A product's code in a look-up."""

IDENTITY: Final = rf"^[A-Za-z0-9._-]{{1,64}}{_END}"
"""An id in a look-up."""

NEW_IDENTITY: Final = rf"^(?!\.{{1,2}}{_END})[A-Za-z0-9._-]{{1,64}}{_END}"
"""An id for something new: not `.` or `..`, since it is used in paths."""

NEW_ORDER_ID: Final = rf"^(?!(?:\.{{1,2}}|summary){_END})[A-Za-z0-9._-]{{1,64}}{_END}"
"""An order's id: not `summary`, since `/orders/summary` is another route."""

SKU: Final = (
    rf"^(?!\s)(?!(?:.*{_SEPARATOR})?{_DOT}{{0,2}}(?:;|{_SEPARATOR}|{_END}))[^\\{_CONTROL}]{{1,64}}(?<!\s){_END}"
)
"""A product's code: printable, without space at its ends. It is used in paths, so none of its parts is empty or a dot
segment, encoded or not."""

NAME: Final = rf"^(?=.*\S)[^{_CONTROL}]{{1,500}}{_END}"
"""The name of a customer."""

TEXT: Final = rf"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]{{0,500}}{_END}"
"""Descriptions and addresses, which may have several lines."""

EMAIL: Final = rf"^(?=.{{3,254}}{_END})[^@\s{_CONTROL}]+@[^@\s{_CONTROL}]+{_END}"

PENCE_MAX: Final = 2**53 - 1
"""The largest sum: every JSON reader represents it exactly, and the databases' columns can store it."""

QUANTITY_MAX: Final = 1_000_000_000
UNIT_PRICE_PENCE_MAX: Final = 1_000_000_000

TIME_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIME_LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""The range of an order's time: `TIME_FIRST` included, `TIME_LAST` excluded."""

_SKU: Final = re.compile(SKU)


def is_sku(text: str) -> bool:
    """Whether the text is a valid product code."""
    return _SKU.search(text) is not None


def is_time(moment: datetime) -> bool:
    """Whether this aware time is in the range of an order's time."""
    return TIME_FIRST <= moment < TIME_LAST
