"""Rows of the retail format from physical lines: every line becomes a row, a part of a row, or a rejected line.

A row is normally one line. A description may have line breaks inside quotes, so a row with an open quote continues over
a few lines at most, unless the next line is a row by itself: then the quote is an error, and only its line is rejected.
Empty lines are no rows. Imports the standard library and retail modules.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold_shop.retail.errors import WrongHeader
from freehold_shop.retail.fields import BadRow, Row, parse_row
from freehold_shop.retail.lines import LINE_BYTES_MAX, LineReader, PhysicalLine, open_input
from freehold_shop.retail.model import ReadCounts, Rejected, RejectReason, SourceRow

__all__ = ["HEADER", "ReadRow", "check_header", "read_rows"]

HEADER = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
ROW_LINES_MAX = 5
"""The largest number of lines of a row with a quoted description."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_QUOTED = r'"(?:[^"]|"")*+'
_OPEN_QUOTE = re.compile(rf'(?:(?:{_QUOTED}"|(?!")[^,]*+),)*+{_QUOTED}\Z')
_INVOICE = re.compile(r"[A-Za-z]?[0-9]+\Z")
_DATE_START = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class ReadRow:
    """A valid row and its source."""

    row: Row
    source: SourceRow


class _Malformed(Exception):
    """The text is no row of eight fields, for the reason in the argument."""


def check_header(path: Path) -> None:
    """Raise `WrongHeader` or `UnreadableFile` unless the file begins with the header, after an optional BOM."""
    with open_input(path) as stream:
        _take_header(LineReader(stream, str(path), ReadCounts()), str(path))


def read_rows(path: Path, counts: ReadCounts) -> Iterator[ReadRow | Rejected]:
    """All rows of a file in order. Counts `rows_read` and `bytes_read`; raises `WrongHeader`, `UnreadableFile`."""
    file = str(path)
    with open_input(path) as stream:
        lines = LineReader(stream, file, counts)
        _take_header(lines, file)
        while (line := lines.next()) is not None:
            if line.overlong:
                counts.rows_read += 1
                yield from _reject_overlong(lines, line, file)
            elif line.content:
                counts.rows_read += 1
                yield _read_row(lines, line, file)


def _take_header(lines: LineReader, file: str) -> None:
    first = lines.next()
    content = first.content if first is not None else b""
    names = tuple(name.strip().strip('"') for name in content.decode("utf-8-sig", "replace").split(","))
    if names != HEADER:
        raise WrongHeader(file, HEADER, tuple(name for name in HEADER if name not in names))


def _reject_overlong(lines: LineReader, line: PhysicalLine, file: str) -> Iterator[Rejected]:
    detail = f"longer than {LINE_BYTES_MAX} bytes"
    yield Rejected(file, line.number, RejectReason.BROKEN_LINE, line.content, detail)
    for part, piece in enumerate(lines.rest_of_line(), start=2):
        yield Rejected(file, line.number, RejectReason.BROKEN_LINE, piece, detail, part)


def _read_row(lines: LineReader, line: PhysicalLine, file: str) -> ReadRow | Rejected:
    try:
        text = line.content.decode()
    except UnicodeDecodeError:
        return Rejected(file, line.number, RejectReason.WRONG_ENCODING, line.content)
    raw = line.content
    if '"' in text and _OPEN_QUOTE.match(text):
        joined = _join_continuation(lines, line)
        if joined is None:
            return Rejected(file, line.number, RejectReason.BROKEN_LINE, raw, "a quote that is never closed")
        raw = joined
        text = raw.decode()
    try:
        row = parse_row(_split(text))
    except _Malformed as error:
        return Rejected(file, line.number, RejectReason.BROKEN_LINE, raw, str(error))
    except BadRow as bad:
        return Rejected(file, line.number, bad.reason, raw, bad.detail)
    return ReadRow(row, SourceRow(file, line.number, raw))


def _join_continuation(lines: LineReader, first: PhysicalLine) -> bytes | None:
    """The whole row that begins with `first`, with its lines consumed; None, without, where the quote is an error."""
    joined = first.content + first.ending
    for index in range(ROW_LINES_MAX - 1):
        line = lines.peek(index)
        if line is None or line.overlong or len(joined) + len(line.content) > LINE_BYTES_MAX:
            return None
        try:
            text = (joined + line.content).decode()
            if _is_row_by_itself(line.content.decode()):
                return None
        except UnicodeDecodeError:
            return None
        if not _OPEN_QUOTE.match(text):
            return _take_if_row(lines, joined + line.content, text, index + 1)
        joined += line.content + line.ending
    return None


def _take_if_row(lines: LineReader, raw: bytes, text: str, line_count: int) -> bytes | None:
    try:
        _split(text)
    except _Malformed:
        return None
    for _ in range(line_count):
        lines.next()
    return raw


def _is_row_by_itself(text: str) -> bool:
    try:
        fields = _split(text)
    except _Malformed:
        return False
    return bool(_INVOICE.match(fields[0].strip()) and _DATE_START.match(fields[4].strip()))


def _split(text: str) -> list[str]:
    if _CONTROL.search(text):
        raise _Malformed("a control character")
    if '"' in text:
        try:
            # One item: a line break inside a quoted field belongs to it.
            records = list(csv.reader([text], strict=True))
        except csv.Error as error:
            raise _Malformed("a quote or line break out of place") from error
        fields = records[0] if len(records) == 1 else []
    elif "\r" in text:
        raise _Malformed("a quote or line break out of place")
    else:
        fields = text.split(",")
    if len(fields) != len(HEADER):
        raise _Malformed(f"{len(fields)} fields in place of {len(HEADER)}")
    if tuple(fields) == HEADER:
        raise _Malformed("the header once more")
    return fields
