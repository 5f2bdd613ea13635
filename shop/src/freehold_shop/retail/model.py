"""The content of a retail file: sales, returns, rejected lines, and the counts of a run.

Imports the standard library only, so that every part of the shop may use these types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

__all__ = [
    "ReadCounts",
    "RejectReason",
    "Rejected",
    "ReturnOrder",
    "Sale",
    "SaleLine",
    "SourceRow",
    "reject_lines",
]


class RejectReason(StrEnum):
    """Why a row cannot be part of an order. The words are stable: summaries and rejects files have them."""

    BROKEN_LINE = "broken-line"
    """Not a row of the format; `Rejected.detail` says what is broken."""
    WRONG_ENCODING = "wrong-encoding"
    """The bytes are not UTF-8."""
    NO_INVOICE = "no-invoice"
    NO_STOCK_CODE = "no-stock-code"
    NO_CUSTOMER = "no-customer"
    NON_POSITIVE_QUANTITY = "non-positive-quantity"
    """The quantity of a sale is zero or negative."""
    NON_NEGATIVE_RETURN_QUANTITY = "non-negative-return-quantity"
    """The quantity of a return line is not negative."""
    NON_POSITIVE_PRICE = "non-positive-price"
    SUB_PENNY_PRICE = "sub-penny-price"
    """The price is no whole number of pence. It is not rounded, because then the shop's total would differ."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of a file: `raw` has all its bytes without the line ending, `line_number` starts at 1."""

    file: str
    line_number: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class SaleLine:
    """One product at one price in an order.

    `quantity` is always positive; in a return it is the number of pieces that are returned.
    `row_number` and `file` name the first row of this line; `sources` has all of them.
    """

    stock_code: str
    description: str
    quantity: int
    unit_price_pence: int
    row_number: int
    file: str
    sources: tuple[SourceRow, ...] = ()

    @property
    def amount_pence(self) -> int:
        """Quantity times unit price."""
        return self.quantity * self.unit_price_pence


@dataclass(frozen=True, slots=True)
class Sale:
    """An order. `order_ref` is the invoice number, or `<invoice>-<n>` for its n-th part (see `orders`).

    `placed_at` is the time of its first row, read as UTC, since the files have no time zone.
    """

    order_ref: str
    placed_at: datetime
    customer_ref: str
    country: str
    lines: tuple[SaleLine, ...]

    @property
    def total_pence(self) -> int:
        """The sum over all lines."""
        return sum(line.amount_pence for line in self.lines)


@dataclass(frozen=True, slots=True)
class ReturnOrder:
    """Goods that a customer returns. The file does not name the order in which they were bought."""

    return_ref: str
    at: datetime
    customer_ref: str
    country: str
    lines: tuple[SaleLine, ...]

    @property
    def total_pence(self) -> int:
        """The refund by the file, as a positive amount."""
        return sum(line.amount_pence for line in self.lines)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not part of any order, with its original bytes (without the line ending).

    A line longer than the reader's limit comes in several parts, in order: `part` is 1, 2, ...; their joined bytes are
    the line. It is one rejected row, counted at part 1.
    """

    file: str
    line_number: int
    reason: str
    raw: bytes
    detail: str = ""
    part: int = 1


@dataclass(slots=True)
class ReadCounts:
    """The counts of a read so far; `bytes_read` divided by the files' sizes is the progress."""

    rows_read: int = 0
    rows_rejected: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0

    @property
    def rows_rejected_total(self) -> int:
        """The sum over all reasons."""
        return sum(self.rows_rejected.values())

    def count_rejected(self, rejected: Rejected) -> None:
        """Count a rejected row once, at its first part."""
        if rejected.part == 1:
            self.rows_rejected[str(rejected.reason)] += 1


def reject_lines(lines: Iterable[SaleLine], reason: str, detail: str = "") -> Iterator[Rejected]:
    """The rejected rows of lines that were valid and were rejected later, one for each source row."""
    for line in lines:
        for source in line.sources:
            yield Rejected(source.file, source.line_number, reason, source.raw, detail)
