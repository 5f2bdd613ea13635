"""Which process has an SQLite file locked for writing, where the system tells. Imports `marks`.

In WAL mode the writer locks one byte of the `-shm`. Linux lists such locks with their processes; elsewhere, and for a
process of another container, nothing is said.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from freehold.adapters.files.marks import Paths

__all__ = ["told_writer", "writer_of"]

_LOCKS: Final = Path("/proc/locks")
_WRITE_LOCK_BYTE: Final = 120
"""Of the `-shm`, by SQLite's file format: the lock of the one that writes."""
_FIELDS: Final = 8


def writer_of(database: Path) -> int | None:
    """The process that is in a write of this file just now; None where there is none, or nobody tells."""
    with contextlib.suppress(OSError, ValueError):
        found = Paths.of(database).shm.stat()
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for pid, first, last in _written(place):
            if first <= _WRITE_LOCK_BYTE <= last and pid > 0:
                return pid
    return None


def told_writer(database: Path) -> str:
    """` (process 4711, python3)` for a message; empty where nobody tells, and for this process itself."""
    pid = writer_of(database)
    if pid is None or pid == os.getpid():
        return ""
    with contextlib.suppress(OSError, ValueError):
        return f" (process {pid}, {Path(f'/proc/{pid}/comm').read_text(encoding='utf-8').strip()})"
    return f" (process {pid})"


def _written(place: str) -> Iterator[tuple[int, int, int]]:
    """Write locks of a file: process, first and last byte. Lines of those that wait for a lock have another shape."""
    for line in _LOCKS.read_text(encoding="ascii").splitlines():
        fields = line.split()
        if len(fields) == _FIELDS and fields[1] == "POSIX" and fields[3] == "WRITE" and fields[5] == place:
            last = fields[7]
            yield int(fields[4]), int(fields[6]), 2**63 if last == "EOF" else int(last)
