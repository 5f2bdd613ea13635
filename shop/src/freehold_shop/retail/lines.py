"""Files as physical lines of bytes, in constant memory whatever the file contains.

Imports the standard library and the retail errors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from freehold_shop.retail.errors import UnreadableFile
from freehold_shop.retail.model import ReadCounts

__all__ = ["LINE_BYTES_MAX", "LineReader", "PhysicalLine", "open_input"]

LINE_BYTES_MAX = 8_192
"""The longest line that can be a row. Real rows are near 100 bytes."""


@dataclass(frozen=True, slots=True)
class PhysicalLine:
    """A line of a file: its `content` and its `ending`. For an overlong line, only the beginning of the content."""

    number: int
    content: bytes
    ending: bytes
    overlong: bool = False


def open_input(path: Path) -> BinaryIO:
    """Open for reading; raises `UnreadableFile`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise UnreadableFile(str(path), error.strerror or "unknown reason") from error


class LineReader:
    """Reads lines, with look-ahead, and counts bytes. Buffers only the lines that the caller peeked at."""

    def __init__(self, stream: BinaryIO, file: str, counts: ReadCounts) -> None:
        self._stream = stream
        self._file = file
        self._counts = counts
        self._ahead: deque[PhysicalLine] = deque()
        self._number = 0
        # A carriage return at the edge of a piece may be half of a line ending.
        self._held_back = b""

    def next(self) -> PhysicalLine | None:
        """The next line, or None at the end."""
        return self._ahead.popleft() if self._ahead else self._read()

    def peek(self, index: int) -> PhysicalLine | None:
        """The line `index` places ahead (0 is the next one), or None at the end.

        Nothing after an overlong line can be peeked at: its rest must be read first.
        """
        while len(self._ahead) <= index:
            if self._ahead and self._ahead[-1].overlong:
                return None
            line = self._read()
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[index]

    def rest_of_line(self) -> Iterator[bytes]:
        """The rest of an overlong line, in bounded pieces, without the line ending."""
        held_back, self._held_back = self._held_back, b""
        while True:
            piece = self._take(LINE_BYTES_MAX)
            if piece.endswith(b"\n") or not piece:
                last, _ = _split_ending(held_back + piece)
                if last:
                    yield last
                return
            piece = held_back + piece
            held_back = b"\r" if piece.endswith(b"\r") else b""
            yield piece.removesuffix(b"\r") if held_back else piece

    def _read(self) -> PhysicalLine | None:
        data = self._take(LINE_BYTES_MAX + 2)
        if not data:
            return None
        self._number += 1
        content, ending = _split_ending(data)
        if not ending and len(data) == LINE_BYTES_MAX + 2:
            self._held_back = b"\r" if data.endswith(b"\r") else b""
            return PhysicalLine(self._number, data.removesuffix(b"\r"), b"", overlong=True)
        return PhysicalLine(self._number, content, ending)

    def _take(self, size_bytes: int) -> bytes:
        try:
            data = self._stream.readline(size_bytes)
        except OSError as error:
            raise UnreadableFile(self._file, error.strerror or "unknown reason") from error
        self._counts.bytes_read += len(data)
        return data


def _split_ending(data: bytes) -> tuple[bytes, bytes]:
    if data.endswith(b"\r\n"):
        return data[:-2], b"\r\n"
    if data.endswith(b"\n"):
        return data[:-1], b"\n"
    return data, b""
