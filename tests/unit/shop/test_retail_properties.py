"""What holds for any input: no row is lost or counted twice, no byte of a rejected row changes, memory stays flat."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold_shop.retail import HEADER, ReadCounts, Rejected, RejectsWriter, Sale, read_orders, read_rejects
from freehold_shop.retail.countries import COUNTRIES, CURRENCIES, country_by_name

HEADER_LINE = ",".join(HEADER).encode()
REPOSITORY = Path(__file__).parents[3]
RETAIL_DATA = REPOSITORY.parent / "shared" / "data" / "retail"

_fields = st.tuples(
    st.sampled_from([b"1", b"2", b"C3", b""]),
    st.sampled_from([b"A", b"B", b""]),
    st.sampled_from([b"x", b'"a, b"', b'"open', b'clo"se', b'"two\nlines"', b"caf\xe9", b'""', b"\x00", b""]),
    st.sampled_from([b"6", b"-6", b"0", b"x", b"2.0"]),
    st.sampled_from([b"2010-12-01 08:26:00", b"2010-02-30 00:00:00"]),
    st.sampled_from([b"2.55", b"0", b"0.001", b"-1"]),
    st.sampled_from([b"17850.0", b"9", b""]),
    st.sampled_from([b"France", b"", b"\xc3\x89ire"]),
)
_good = st.builds(
    lambda invoice, stock, quantity: b"%s,%s,x,%s,2010-12-01 08:26:00,2.55,17850.0,France" % (invoice, stock, quantity),
    st.sampled_from([b"1", b"2"]),
    st.sampled_from([b"A", b"B"]),
    st.sampled_from([b"1", b"5", b"2.0"]),
)
_overlong = st.builds(lambda piece, times: piece * times, st.binary(min_size=10, max_size=20), st.integers(800, 2_000))
_rows = st.one_of(_good, _fields.map(b",".join), st.binary(max_size=60), _overlong)
_files = st.lists(st.tuples(_rows, st.sampled_from([b"\n", b"\r\n"])), max_size=25).map(
    lambda rows: b"".join(content + ending for content, ending in rows)
)


@given(body=_files, cut_last_ending=st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_byte_is_in_exactly_one_order_line_or_one_rejected_row(
    tmp_path: Path, body: bytes, cut_last_ending: bool
) -> None:
    if cut_last_ending:
        body = body.removesuffix(b"\n")
    path = tmp_path / "in.csv"
    path.write_bytes(HEADER_LINE + b"\n" + body)
    counts = ReadCounts()
    with RejectsWriter(tmp_path / "rejects.csv") as rejects:
        orders = list(read_orders([path], rejects, counts))
    rejected = list(read_rejects(tmp_path / "rejects.csv"))

    sources = [source for order in orders for line in order.lines for source in line.sources]
    assert len(sources) + sum(item.part == 1 for item in rejected) == counts.rows_read
    assert rejects.counts.rows_rejected == counts.rows_rejected
    pieces = sorted(
        [(source.line_number, 1, source.raw) for source in sources]
        + [(item.line_number, item.part, item.raw) for item in rejected]
    )
    whole: dict[int, bytes] = {}
    for line_number, _, raw in pieces:
        whole[line_number] = whole.get(line_number, b"") + raw
    taken = [line for raw in whole.values() for line in _lines(raw)]
    assert [line for line in taken if line] == [line for line in _lines(body) if line]


def _lines(data: bytes) -> list[bytes]:
    *ended, last = data.split(b"\n")
    return [*(line.removesuffix(b"\r") for line in ended), last]


@given(body=_files)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_quantity_is_conserved_from_rows_to_lines(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(HEADER_LINE + b"\n" + body)
    orders = list(read_orders([path], lambda _: None))
    refs = [order.order_ref if isinstance(order, Sale) else order.return_ref for order in orders]
    assert len(refs) == len(set(refs))
    for order in orders:
        for line in order.lines:
            fields = [source.raw.rsplit(b",", 5)[1] for source in line.sources]
            assert line.quantity == sum(abs(int(float(field))) for field in fields)
            assert line.unit_price_pence > 0


@given(
    st.lists(
        st.builds(
            Rejected,
            file=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
            line_number=st.integers(1, 10**9),
            reason=st.sampled_from(["no-customer", "broken-line"]),
            raw=st.binary(max_size=200),
            detail=st.text(st.characters(codec="utf-8"), max_size=20),
            part=st.integers(1, 3),
        )
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_rejects_file_gives_back_what_was_written(tmp_path: Path, rejected: list[Rejected]) -> None:
    with RejectsWriter(tmp_path / "rejects.csv") as writer:
        for item in rejected:
            writer.write(item)
    assert list(read_rejects(tmp_path / "rejects.csv")) == rejected


_MEASURE = """
import pathlib, re, sys
from freehold_shop.retail import ReadCounts, RejectsWriter, read_orders
counts = ReadCounts()
with RejectsWriter(sys.argv[2]) as rejects:
    orders = sum(1 for _ in read_orders([sys.argv[1]], rejects, counts))
# Not getrusage: its peak is inherited from the process that started this one.
peak = re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]
print(orders, counts.rows_read, counts.bytes_read, peak)
"""


def _measure(directory: Path, row_count: int) -> tuple[int, int, int, int]:
    """Orders, rows and bytes read, and the peak memory in KiB of a process that reads a file of so many rows."""
    path = directory / f"{row_count}.csv"
    with path.open("wb") as stream:
        stream.write(HEADER_LINE + b"\n")
        for number in range(row_count):
            customer = b"" if number % 3 == 0 else b"17850.0"
            item = number % 5_000
            stream.write(b"%d,%d,ITEM %d,6,2010-12-01 08:26:00,2.55,%s,France\n" % (number // 4, item, item, customer))
        stream.write(b'1,A,"' + b"x" * (25 * row_count))
    command = [sys.executable, "-c", _MEASURE, str(path), str(directory / "rejects.csv")]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout
    orders, rows, bytes_read, peak_kibibytes = map(int, output.split())
    assert bytes_read == path.stat().st_size
    return orders, rows, bytes_read, peak_kibibytes


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak memory of a process is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    # The small file has every product already, so that what is remembered of products is the same in both.
    *_, small_kibibytes = _measure(tmp_path, 10_000)
    orders, rows, _, large_kibibytes = _measure(tmp_path, 200_000)
    assert (orders, rows) == (50_000, 200_001)
    assert large_kibibytes - small_kibibytes < 6_000


def test_the_real_files_lose_no_row() -> None:
    paths = sorted(RETAIL_DATA.glob("*.csv"))
    if not paths:
        pytest.skip("the retail data set is not beside the repository (../shared/data/retail)")
    counts = ReadCounts()
    rejected: list[Rejected] = []
    orders = list(read_orders(paths, rejected.append, counts))
    lines = sum(path.read_bytes().count(b"\n") - 1 for path in paths)
    assert counts.rows_read == lines
    assert sum(len(line.sources) for order in orders for line in order.lines) + len(rejected) == lines
    assert set(counts.rows_rejected) <= {"no-customer", "non-positive-price", "non-positive-quantity"}
    assert all(country_by_name(order.country) is not None for order in orders)
    assert any(not isinstance(order, Sale) for order in orders)


def test_every_country_has_its_own_code_and_a_known_currency() -> None:
    assert len({country.code for country in COUNTRIES}) == len(COUNTRIES)
    assert {country.currency for country in COUNTRIES} == {currency.code for currency in CURRENCIES}
    assert country_by_name(" eire ") is country_by_name("EIRE") is not None
    assert country_by_name("Atlantis") is None
