"""Free space of a file system, for engines that keep a file of their own. Port: imports the database port.

A small write does not show that a disk is full: SQLite overwrites an existing journal, and fails only at a larger
transaction. So a check reads the free space as well.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from freehold.database import CheckResult
from freehold.errors import Unavailable

__all__ = ["FULL_BYTES", "LOW_BYTES", "Room", "check_free_space", "require_writable", "room_at"]

FULL_BYTES: Final = 1024 * 1024
"""With less than this the disk is full: the next larger transaction fails."""
LOW_BYTES: Final = 256 * 1024 * 1024
"""With less than this, or than a twentieth of a small disk, an operator has to free space."""
_LOW_PART: Final = 20


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes of a file system: those that this process may still write, and all."""

    free_bytes: int
    total_bytes: int

    @property
    def full(self) -> bool:
        """Whether there are less than `FULL_BYTES`."""
        return self.free_bytes < FULL_BYTES

    @property
    def low(self) -> bool:
        """Whether an operator should free space soon."""
        return self.free_bytes < min(LOW_BYTES, max(FULL_BYTES, self.total_bytes // _LOW_PART))


def room_at(path: Path) -> Room | None:
    """The free space of the file system of a file; None if the operating system does not report it."""
    if not hasattr(os, "statvfs"):
        return None
    try:
        found = os.statvfs(path if path.exists() else path.parent)
    except OSError:
        return None
    free = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    return Room(free * found.f_frsize, found.f_blocks * found.f_frsize)


def require_writable(path: Path) -> None:
    """Check that a file can be written and can grow. Raises `Unavailable` with the reason."""
    room = room_at(path)
    if room is not None and room.full:
        raise Unavailable(f"the disk is full: {_shown(room.free_bytes)} are left", hint="make room on the disk")
    for each in (path, path.parent):
        if each.exists() and not os.access(each, os.W_OK):
            raise Unavailable(
                f"the {'file' if each == path else 'directory'} is read-only",
                hint="give the right to write back, or mount the file system for writing",
            )


def check_free_space(subject: str, path: Path) -> CheckResult:
    """The free space of a file's disk, for `doctor`."""
    room = room_at(path)
    if room is None:
        return CheckResult(subject, ok=True, detail="this system does not report the free space of the disk")
    detail = f"{_shown(room.free_bytes)} of {_shown(room.total_bytes)} are free"
    return CheckResult(subject, ok=not room.low, detail=detail, fix="make room on the disk" if room.low else "")


def _shown(size: int) -> str:
    for unit, of in (("GB", 1024**3), ("MB", 1024**2), ("kB", 1024)):
        if size >= of:
            return f"{size / of:.1f} {unit}"
    return f"{size} bytes"
