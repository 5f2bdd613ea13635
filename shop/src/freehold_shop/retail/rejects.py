"""The rejects file: every rejected row with its reason and its original bytes.

A CSV file with the columns `file,line_number,reason,detail,part,raw`. `raw` is always quoted and has the row's bytes
unchanged, except that CSV doubles quotes. So a row in a wrong encoding gives the file mixed encodings: read it as
bytes, or as Latin-1, which maps every byte to one character. Imports the standard library and the retail model.
"""

from __future__ import annotations

import csv
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from freehold_shop.retail.model import ReadCounts, Rejected

__all__ = ["RejectsWriter", "read_rejects"]

_COLUMNS = b"file,line_number,reason,detail,part,raw\n"
_BUFFER_BYTES = 65_536


class RejectsWriter:
    """The writer of a rejects file: a context manager, and the `on_reject` of `read_orders`.

    An existing file is replaced. Rows are buffered up to 64 KiB and written by `flush` and at the end. `counts` has the
    counts of the written rows. A file has one writer at a time: a second one, of any process, gets `BlockingIOError`
    and does not change the file. Raises `OSError` where the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.counts = ReadCounts()
        self._stream = _open_alone(self.path)
        self._stream.write(_COLUMNS)

    def __call__(self, rejected: Rejected) -> None:
        """The same as `write`."""
        self.write(rejected)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, rejected: Rejected) -> None:
        """Append one record."""
        self._stream.write(
            b"%s,%d,%s,%s,%d,%s\n"
            % (
                _quoted(os.fsencode(rejected.file)),
                rejected.line_number,
                _quoted(rejected.reason.encode()),
                _quoted(rejected.detail.encode()),
                rejected.part,
                _quoted(rejected.raw),
            )
        )
        self.counts.count_rejected(rejected)

    def flush(self) -> None:
        """Write the buffer to the operating system."""
        self._stream.flush()

    def close(self) -> None:
        """Write the buffer and close the file; a second call does nothing."""
        self._stream.close()


def _open_alone(path: Path) -> BinaryIO:
    """Open the file, lock it and then empty it. What is no regular file (a pipe, `/dev/null`) is not locked."""
    stream = path.open("ab", buffering=_BUFFER_BYTES)
    try:
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            # The lock lasts until the stream is closed, or its process ends.
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stream.truncate(0)
    except BaseException:
        stream.close()
        raise
    return stream


def read_rejects(path: str | Path) -> Iterator[Rejected]:
    """The records of a rejects file, byte for byte as they were written."""
    with Path(path).open(encoding="latin-1", newline="") as stream:
        records = csv.reader(stream, strict=True)
        next(records, None)
        for file, line_number, reason, detail, part, raw in records:
            yield Rejected(
                file=os.fsdecode(file.encode("latin-1")),
                line_number=int(line_number),
                reason=reason,
                raw=raw.encode("latin-1"),
                detail=detail.encode("latin-1").decode(),
                part=int(part),
            )


def _quoted(data: bytes) -> bytes:
    return b'"' + data.replace(b'"', b'""') + b'"'
