"""The append-only ledger file: one JSON line for each effect, written before the response.

The state of the providers is folded from this file alone. A line is one write to the operating system, so it survives a
crash of this process. It survives a crash of the machine only with `fsync`, which costs a disk flush for each effect;
it is off by default, since no fault of the shop crashes the machine. One process at a time: the file is locked.
Imports msgspec and the wire types.
"""

from __future__ import annotations

import fcntl
import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from freehold_shop.providers.errors import LedgerDamaged, LedgerInUse, LedgerWriteFailed
from freehold_shop.providers.wire import LedgerEntry

__all__ = ["ENTRIES_PAGE_MAX", "Ledger"]

ENTRIES_PAGE_MAX = 10_000

_decoder = msgspec.json.Decoder(LedgerEntry)
_encoder = msgspec.json.Encoder()


class Ledger:
    """The open ledger file: its lock, and an index with eight bytes for each entry. Not for several threads."""

    def __init__(self, path: str | Path, *, fsync: bool = False) -> None:
        """Open or create; raises `LedgerInUse`. Call `recover` before anything else."""
        self.path = Path(path)
        self._fsync = fsync
        self._offsets = array("Q", [0])
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise LedgerInUse(
                f"the ledger {self.path} is in use", hint="stop the other providers process, or name another file"
            ) from error

    @property
    def sequence(self) -> int:
        """The last entry's sequence; 0 where there is none."""
        return len(self._offsets) - 1

    def recover(self) -> Iterator[LedgerEntry]:
        """All entries from the first; then cuts off a torn last write, whose effect was never confirmed.

        Raises `LedgerDamaged` for anything else that is no entry.
        """
        with self.path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                entry = self._decode(line)
                self._offsets.append(self._offsets[-1] + len(line))
                yield entry
        os.ftruncate(self._file, self._offsets[-1])

    def append(self, entry: LedgerEntry) -> None:
        """Write the entry; raises `LedgerWriteFailed`, and then the file is unchanged."""
        line = _encoder.encode(entry) + b"\n"
        start = self._offsets[-1]
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
            if self._fsync:
                os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, start)
            raise LedgerWriteFailed(
                f"the ledger {self.path} cannot be written", hint="check the disk's free space"
            ) from error
        self._offsets.append(start + len(line))

    def entry(self, sequence: int) -> LedgerEntry:
        """The entry with this sequence, read from the file."""
        start = self._offsets[sequence - 1]
        return _decoder.decode(os.pread(self._file, self._offsets[sequence] - start, start))

    def lines_after(self, sequence: int, limit: int) -> tuple[bytes, int]:
        """At most `limit` lines of the file after an entry, and the sequence of the last of them."""
        first = min(max(sequence, 0), self.sequence)
        last = min(first + min(limit, ENTRIES_PAGE_MAX), self.sequence)
        start, end = self._offsets[first], self._offsets[last]
        return os.pread(self._file, end - start, start), last

    def close(self) -> None:
        """Close the file, which releases its lock."""
        os.close(self._file)

    def _decode(self, line: bytes) -> LedgerEntry:
        try:
            entry = _decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise self._damaged() from error
        if entry.sequence != self.sequence + 1:
            raise self._damaged()
        return entry

    def _damaged(self) -> LedgerDamaged:
        return LedgerDamaged(
            f"the ledger {self.path} is damaged at line {self.sequence + 1}",
            hint="restore the file from a backup, or name a new one",
        )
