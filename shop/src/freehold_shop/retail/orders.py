"""Sales and returns of retail files, streamed in constant memory.

Consecutive rows with one invoice number and one customer are one order; rejected rows in between do not separate them,
nor does the end of a file. An invoice that comes again after others, or changes its customer, or has more than
`LINES_MAX` lines, continues as an order of its own: `536365-2`, then `536365-3`. So the same file read twice gives the
same orders twice, the second time as parts. The order references depend on the files alone: reading them in another
run gives the same ones.

Imports the standard library, retail modules and the rules.
"""

from __future__ import annotations

import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from freehold_shop.retail.errors import UnreadableFile
from freehold_shop.retail.fields import QUANTITY_MAX, Row
from freehold_shop.retail.model import (
    ReadCounts,
    Rejected,
    RejectReason,
    ReturnOrder,
    Sale,
    SaleLine,
    SourceRow,
    reject_lines,
)
from freehold_shop.retail.rows import ReadRow, check_header, read_rows
from freehold_shop.retail.seen import SeenInvoices
from freehold_shop.rules import PENCE_MAX

__all__ = ["LINES_MAX", "read_orders"]

LINES_MAX = 2_000
"""Rows in one order, at most. The largest invoices of the data set have about a thousand."""
DESCRIPTIONS_MAX = 20_000
"""For how many products the last description is remembered; the least recently seen product is evicted first."""


def read_orders(
    paths: Iterable[str | Path],
    on_reject: Callable[[Rejected], None],
    counts: ReadCounts | None = None,
) -> Iterator[Sale | ReturnOrder]:
    """Read the files in the given sequence and yield each order as soon as its last row is read.

    Every data row is in the `sources` of exactly one line of one order, or is passed to `on_reject` and counted once.
    The header of every regular file is checked at the call, before anything is yielded; the header of a pipe is checked
    when the pipe is read. Raises `WrongHeader` and `UnreadableFile`.
    """
    files = [Path(path) for path in paths]
    for file in files:
        if _is_regular(file):
            check_header(file)
    return _stream(files, on_reject, counts if counts is not None else ReadCounts())


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or "unknown reason") from error


def _stream(
    files: list[Path], on_reject: Callable[[Rejected], None], counts: ReadCounts
) -> Iterator[Sale | ReturnOrder]:
    seen = SeenInvoices()
    descriptions = _Descriptions()
    group: _Group | None = None
    try:
        for file in files:
            for item in read_rows(file, counts):
                if isinstance(item, Rejected):
                    counts.count_rejected(item)
                    on_reject(item)
                    continue
                if group is not None and not group.takes(item.row):
                    yield from _within_bounds(group.finish(), on_reject, counts)
                    group = None
                if group is None:
                    group = _Group(item.row, seen.next_part(item.row.invoice))
                group.add(item, descriptions.of(item.row))
        if group is not None:
            yield from _within_bounds(group.finish(), on_reject, counts)
    finally:
        seen.close()


def _within_bounds(
    order: Sale | ReturnOrder, on_reject: Callable[[Rejected], None], counts: ReadCounts
) -> Iterator[Sale | ReturnOrder]:
    """The order; where its total is too large, none, and its rows are rejected."""
    if order.total_pence <= PENCE_MAX:
        yield order
        return
    for rejected in reject_lines(order.lines, RejectReason.BROKEN_LINE, f"the order is beyond {PENCE_MAX} pence"):
        counts.count_rejected(rejected)
        on_reject(rejected)


class _Descriptions:
    """The last description of each product, for rows that have none."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, str] = OrderedDict()

    def of(self, row: Row) -> str:
        """The row's description, or the product's last known one, or its stock code."""
        if not row.description:
            return self._last.get(row.stock_code, row.stock_code)
        self._last[row.stock_code] = row.description
        self._last.move_to_end(row.stock_code)
        if len(self._last) > DESCRIPTIONS_MAX:
            self._last.popitem(last=False)
        return row.description


class _Group:
    """The rows of one order while they are read."""

    def __init__(self, first: Row, part: int) -> None:
        self._first = first
        self._ref = first.invoice if part == 1 else f"{first.invoice}-{part}"
        self._lines: list[_Line] = []
        self._mergeable: dict[tuple[str, int], _Line] = {}
        self._row_count = 0

    def takes(self, row: Row) -> bool:
        """Whether the row belongs to this order."""
        return (
            row.invoice == self._first.invoice
            and row.customer_ref == self._first.customer_ref
            and self._row_count < LINES_MAX
        )

    def add(self, item: ReadRow, description: str) -> None:
        """Add the row to the line of its product and price, or begin a line."""
        row = item.row
        self._row_count += 1
        line = self._mergeable.get((row.stock_code, row.unit_price_pence))
        if line is not None and line.quantity + row.quantity <= QUANTITY_MAX:
            line.quantity += row.quantity
            line.sources.append(item.source)
            return
        line = _Line(row, description, item.source)
        self._mergeable[row.stock_code, row.unit_price_pence] = line
        self._lines.append(line)

    def finish(self) -> Sale | ReturnOrder:
        """The order of all rows."""
        first = self._first
        lines = tuple(line.finish() for line in self._lines)
        if first.is_return:
            return ReturnOrder(self._ref, first.at, first.customer_ref, first.country, lines)
        return Sale(self._ref, first.at, first.customer_ref, first.country, lines)


class _Line:
    __slots__ = ("description", "quantity", "row", "sources")

    def __init__(self, row: Row, description: str, source: SourceRow) -> None:
        self.row = row
        self.description = description
        self.quantity = row.quantity
        self.sources = [source]

    def finish(self) -> SaleLine:
        first = self.sources[0]
        return SaleLine(
            stock_code=self.row.stock_code,
            description=self.description,
            quantity=self.quantity,
            unit_price_pence=self.row.unit_price_pence,
            row_number=first.line_number,
            file=first.file,
            sources=tuple(self.sources),
        )
