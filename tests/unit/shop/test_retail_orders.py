"""Reading of retail files: which rows make which orders, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from freehold_shop.retail import (
    HEADER,
    ReadCounts,
    Rejected,
    ReturnOrder,
    Sale,
    UnreadableFile,
    WrongHeader,
    read_orders,
    reject_lines,
)
from freehold_shop.retail import orders as orders_module
from freehold_shop.retail.lines import LINE_BYTES_MAX

HEADER_LINE = ",".join(HEADER).encode()
GOOD = b"536365,85123A,LANTERN,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"


class Reading:
    """What came out of one read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.rejected: list[Rejected] = []
        self.counts = ReadCounts()
        self.orders = list(read_orders(paths, self.rejected.append, self.counts))

    @property
    def refs(self) -> list[str]:
        return [order.order_ref if isinstance(order, Sale) else order.return_ref for order in self.orders]

    @property
    def reasons(self) -> list[str]:
        return [str(rejected.reason) for rejected in self.rejected]


def write(path: Path, *lines: bytes, header: bytes = HEADER_LINE, ending: bytes = b"\n") -> Path:
    path.write_bytes(ending.join((header, *lines)) + ending)
    return path


def read(tmp_path: Path, *lines: bytes, ending: bytes = b"\n") -> Reading:
    return Reading([write(tmp_path / "in.csv", *lines, ending=ending)])


def row(
    invoice: str = "1",
    stock: str = "A",
    description: str = "LANTERN",
    quantity: str = "6",
    at: str = "2010-12-01 08:26:00",
    price: str = "2.55",
    customer: str = "17850.0",
    country: str = "France",
) -> bytes:
    return f"{invoice},{stock},{description},{quantity},{at},{price},{customer},{country}".encode()


def test_a_sale_is_read_with_money_in_pence_and_the_customer_without_its_decimal(tmp_path: Path) -> None:
    reading = read(tmp_path, GOOD)
    (order,) = reading.orders
    assert isinstance(order, Sale)
    assert (order.order_ref, order.customer_ref, order.country) == ("536365", "17850", "United Kingdom")
    assert order.placed_at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    (line,) = order.lines
    assert (line.stock_code, line.description, line.quantity, line.unit_price_pence) == ("85123A", "LANTERN", 6, 255)
    assert (line.row_number, line.file, line.sources[0].raw) == (2, str(tmp_path / "in.csv"), GOOD)
    assert order.total_pence == 1530
    assert reading.counts.rows_read == 1
    assert reading.counts.bytes_read == (tmp_path / "in.csv").stat().st_size


def test_an_invoice_with_c_is_a_return_of_a_positive_number_of_pieces(tmp_path: Path) -> None:
    (order,) = read(tmp_path, row("c7", quantity="-3", price="1")).orders
    assert isinstance(order, ReturnOrder)
    assert (order.return_ref, order.lines[0].quantity, order.total_pence) == ("C7", 3, 300)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row(customer=""), "no-customer"),
        (row(customer="nan"), "no-customer"),
        (row(quantity="0"), "non-positive-quantity"),
        (row(quantity="-1"), "non-positive-quantity"),
        (row(price="0.00"), "non-positive-price"),
        (row(price="-2.55"), "non-positive-price"),
        (row(price="2.555"), "sub-penny-price"),
        (row(price="0.00100000000000"), "sub-penny-price"),
        (row("C1", quantity="1"), "non-negative-return-quantity"),
        (row("C1", quantity="0"), "non-negative-return-quantity"),
        (row(invoice=" "), "no-invoice"),
        (row(stock=""), "no-stock-code"),
        (row(description="caf\xe9").decode().encode("latin-1"), "wrong-encoding"),
        (row(quantity="six"), "broken-line"),
        (row(quantity="6.5"), "broken-line"),
        (row(quantity="99999999999"), "broken-line"),
        (row(quantity="٣"), "broken-line"),
        (row(price="NaN"), "broken-line"),
        (row(price="1e5"), "broken-line"),
        (row(price="99999999999"), "broken-line"),
        (row(at="2010-13-01 08:26:00"), "broken-line"),
        (row(at="yesterday"), "broken-line"),
        (row(invoice="1/2"), "broken-line"),
        (row(customer="17850.5"), "broken-line"),
        (row(stock="A\x00"), "broken-line"),
        (row(stock="A\x85B"), "broken-line"),
        (row(stock='"A\tB"'), "broken-line"),
        (row(stock=".."), "broken-line"),
        (row(stock="A/../B"), "broken-line"),
        (row(stock="/A"), "broken-line"),
        (GOOD.replace(b"85123A", b"A\xed\xa0\x80"), "wrong-encoding"),
        (row(country="Fr\tance"), "broken-line"),
        (row(at="0001-01-01 00:00:00"), "broken-line"),
        (row(at="9999-12-31 23:59:59"), "broken-line"),
        (row(quantity="10000000", price="10000000.00"), "broken-line"),
        (row("C1", quantity="-10000000", price="10000000.00"), "broken-line"),
        (row(country="x" * 65), "broken-line"),
        (row(description="x" * 501), "broken-line"),
        (b"1,A,x,6", "broken-line"),
        (GOOD + b",9", "broken-line"),
        (HEADER_LINE, "broken-line"),
        (row(description='"A"B'), "broken-line"),
        (row(description='"A'), "broken-line"),
        (row(description="A\rB"), "broken-line"),
        (b"   ", "broken-line"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason_and_bytes_and_the_run_goes_on(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    reading = read(tmp_path, line, GOOD)
    assert reading.refs == ["536365"]
    (rejected,) = reading.rejected
    assert (rejected.reason, rejected.raw, rejected.line_number) == (reason, line, 2)
    assert reading.counts.rows_read == 2
    assert reading.counts.rows_rejected == {reason: 1}


def test_an_order_beyond_what_the_shop_takes_is_rejected_row_by_row(tmp_path: Path) -> None:
    rows = [row(stock=f"S{number}", quantity="9000000", price="10000000.00") for number in range(2)]
    reading = read(tmp_path, *rows, GOOD)
    assert reading.refs == ["536365"]
    assert [(each.reason, each.raw) for each in reading.rejected] == [("broken-line", each) for each in rows]
    assert reading.counts.rows_read == 3
    assert reading.counts.rows_rejected == {"broken-line": 2}


def test_forms_that_spreadsheets_write_are_read(tmp_path: Path) -> None:
    reading = read(
        tmp_path, row(quantity="6.0", price=" 2.550 ", at="2010-12-01 08:26", customer=" 17850 ", country="")
    )
    (order,) = reading.orders
    assert (order.lines[0].quantity, order.lines[0].unit_price_pence) == (6, 255)
    assert (order.customer_ref, order.country) == ("17850", "Unspecified")


def test_quotes_commas_and_line_breaks_in_a_description(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        row("1", description='"TRAY, IN BED"'),
        row("2", description='"FRAME 7"" SIZE"'),
        row("3", description='"OVER\r\n TWO, LINES"'),
        row("4", description='7" BOX'),
    )
    described = [order.lines[0].description for order in reading.orders]
    assert described == ["TRAY, IN BED", 'FRAME 7" SIZE', "OVER TWO, LINES", '7" BOX']
    assert reading.rejected == []
    assert reading.counts.rows_read == 4


def test_an_unbalanced_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    lines = [row("1"), row("2", description='"LANTERN'), row("3"), row("4", description='"X, Y"'), row("5", '"Q')]
    reading = read(tmp_path, *lines)
    assert reading.refs == ["1", "3", "4"]
    assert [rejected.line_number for rejected in reading.rejected] == [3, 6]


def test_two_unbalanced_quotes_do_not_swallow_the_rows_between(tmp_path: Path) -> None:
    reading = read(tmp_path, row("1", description='"OPEN'), row("2"), row("3", description='CLOSE"'))
    assert reading.refs == ["2", "3"]
    assert [rejected.line_number for rejected in reading.rejected] == [2]


def test_an_open_quote_does_not_swallow_lines_that_are_no_rows(tmp_path: Path) -> None:
    reading = read(tmp_path, row("1", '"A'), *[b"filler"] * 6, row("2"))
    assert reading.refs == ["2"]
    assert reading.reasons == ["broken-line"] * 7


@pytest.mark.parametrize("length", [LINE_BYTES_MAX + 1, LINE_BYTES_MAX + 2, 2 * LINE_BYTES_MAX + 1, 100_000])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_an_overlong_line_is_one_rejected_row_in_parts(tmp_path: Path, length: int, ending: bytes) -> None:
    line = GOOD + b"\r" * (length - len(GOOD) - 1) + b"x"
    reading = read(tmp_path, row("1", '"A'), line, row("2"), ending=ending)
    assert reading.refs == ["2"]
    parts = [rejected for rejected in reading.rejected if rejected.line_number == 3]
    assert b"".join(part.raw for part in parts) == line
    assert [part.part for part in parts] == list(range(1, len(parts) + 1))
    assert reading.counts.rows_rejected == {"broken-line": 2}
    assert reading.counts.rows_read == 3


def test_empty_lines_byte_order_mark_and_windows_endings(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", b"", GOOD, b"", header=b"\xef\xbb\xbf" + HEADER_LINE, ending=b"\r\n")
    reading = Reading([path])
    assert (reading.refs, reading.counts.rows_read) == (["536365"], 1)


def test_rows_of_one_product_at_one_price_are_one_line(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        row(stock="A"),
        row(stock="B"),
        row(stock="A", quantity="1"),
        row(stock="A", price="2.50"),
        row(price="0"),
    )
    (order,) = reading.orders
    assert [(line.stock_code, line.unit_price_pence, line.quantity) for line in order.lines] == [
        ("A", 255, 7),
        ("B", 255, 6),
        ("A", 250, 6),
    ]
    assert [source.line_number for source in order.lines[0].sources] == [2, 4]


def test_an_invoice_that_comes_again_goes_on_as_another_part(tmp_path: Path) -> None:
    reading = read(tmp_path, row("1"), row("2"), row("1"), row("2"), row("1"))
    assert reading.refs == ["1", "2", "1-2", "2-2", "1-3"]


def test_rejected_rows_and_file_ends_do_not_part_an_invoice(tmp_path: Path) -> None:
    first = write(tmp_path / "1.csv", row("1"), row("2", customer=""), row("1", stock="B"))
    second = write(tmp_path / "2.csv", row("1", stock="C"))
    reading = Reading([first, second])
    assert reading.refs == ["1"]
    assert [line.file for line in reading.orders[0].lines] == [str(first), str(first), str(second)]


def test_another_customer_or_too_many_lines_begin_another_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders_module, "LINES_MAX", 2)
    reading = read(tmp_path, row(customer="1"), row(customer="2"), row(customer="2"), row(customer="2"))
    assert [(order.customer_ref, sum(len(line.sources) for line in order.lines)) for order in reading.orders] == [
        ("1", 1),
        ("2", 2),
        ("2", 1),
    ]
    assert reading.refs == ["1", "1-2", "1-3"]


def test_a_missing_description_is_the_last_known_one_or_the_stock_code(tmp_path: Path) -> None:
    reading = read(tmp_path, row("1", description=""), row("2"), row("3", description=""))
    assert [order.lines[0].description for order in reading.orders] == ["A", "LANTERN", "LANTERN"]


@pytest.mark.parametrize(
    "header",
    [b"", b"a,b", GOOD, HEADER_LINE.replace(b"CustomerID", b"Customer ID"), HEADER_LINE.decode().encode("utf-16")],
)
def test_a_wrong_header_refuses_the_file_before_anything_is_read(tmp_path: Path, header: bytes) -> None:
    good = write(tmp_path / "good.csv", GOOD)
    bad = write(tmp_path / "bad.csv", GOOD, header=header)
    with pytest.raises(WrongHeader, match="InvoiceNo,StockCode") as caught:
        read_orders([good, bad], lambda _: None)
    assert "17850" not in str(caught.value)


def test_an_empty_or_missing_file_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    with pytest.raises(WrongHeader):
        read_orders([tmp_path / "empty.csv"], lambda _: None)
    with pytest.raises(UnreadableFile):
        read_orders([tmp_path / "none.csv"], lambda _: None)
    with pytest.raises(UnreadableFile):
        list(read_orders([tmp_path], lambda _: None))


def test_lines_that_come_to_nothing_later_are_rejected_row_by_row(tmp_path: Path) -> None:
    (order,) = read(tmp_path, row("C1", quantity="-1"), row("C1", quantity="-2")).orders
    rejected = list(reject_lines(order.lines, "no-matching-order"))
    assert [(item.line_number, item.raw) for item in rejected] == [
        (2, row("C1", quantity="-1")),
        (3, row("C1", quantity="-2")),
    ]
