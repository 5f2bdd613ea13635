"""A file system that is full. Testing: imports its sibling `disturbance`."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Final

from freehold.testing.nemesis.disturbance import Disturbance

__all__ = ["full_disk"]

_BALLAST: Final = ".ballast"
_PIECE_BYTES: Final = 1 << 20


def full_disk(
    name: str, directory: Path, *, seconds: tuple[float, float], groups: frozenset[str] = frozenset()
) -> Disturbance:
    """The file system of this directory has no byte left: a file beside the data takes all of it.

    The directory must be on a small file system of its own, such as a tmpfs: another one would be filled as well.
    """
    ballast = directory / _BALLAST

    async def begin(_: random.Random) -> str:
        return f"{_fill(ballast) >> 20} MiB taken"

    async def end() -> None:
        ballast.unlink(missing_ok=True)

    return Disturbance(name=name, begin=begin, end=end, seconds=seconds, groups=groups)


def _fill(ballast: Path) -> int:
    """Write until nothing more fits, to the last byte; returns the size."""
    piece = b"\0" * _PIECE_BYTES
    size = 0
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while piece:
            try:
                size += os.write(descriptor, piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece = piece[: len(piece) // 2]
    finally:
        os.close(descriptor)
    return size
