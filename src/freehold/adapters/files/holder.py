"""Finds the process that has locked an SQLite file for writing, where the system shows it. Imports `marks`.

In WAL mode the writer locks one byte of the `-shm`. Linux lists such locks with their processes. Other systems do not,
and a process of another container is not listed.
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
"""The byte of the `-shm` that a writer locks, by SQLite's file format."""
_FIELDS: Final = 8


def writer_of(database: Path) -> int | None:
    """The process that holds the write lock of this file now; None where there is none, or it is not known."""
    with contextlib.suppress(OSError, ValueError):
        found = Paths.of(database).shm.stat()
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for pid, first, last in _written(place):
            if first <= _WRITE_LOCK_BYTE <= last and pid > 0:
                return pid
    return None


def told_writer(database: Path) -> str:
    """` (process 4711, python3)` for a message; empty where the process is not known, and for this process."""
    pid = writer_of(database)
    if pid is None or pid == os.getpid():
        return ""
    with contextlib.suppress(OSError, ValueError):
        return f" (process {pid}, {Path(f'/proc/{pid}/comm').read_text(encoding='utf-8').strip()})"
    return f" (process {pid})"


def _written(place: str) -> Iterator[tuple[int, int, int]]:
    """The write locks of a file: process, first and last byte. Lines of waiting processes have another number of
    fields.
    """
    for line in _LOCKS.read_text(encoding="ascii").splitlines():
        fields = line.split()
        if len(fields) == _FIELDS and fields[1] == "POSIX" and fields[3] == "WRITE" and fields[5] == place:
            last = fields[7]
            yield int(fields[4]), int(fields[6]), 2**63 if last == "EOF" else int(last)
