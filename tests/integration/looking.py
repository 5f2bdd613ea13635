"""What a look at a file costs, told in looks of the system at it: that is the same on every machine."""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["STATS_MAX", "in_stats"]

STATS_MAX: Final = 15.0
"""Three are needed, and Python around them; to open the database takes hundreds."""
_LOOKS = 200
_ROUNDS = 7


def in_stats(look: Callable[[], object], file: Path) -> float:
    """How many times as long as one stat of the file it takes; the least of several rounds, which nobody disturbed."""
    stat = min(timeit.repeat(lambda: os.stat(file), number=_LOOKS, repeat=_ROUNDS))  # noqa: PTH116 - as looks do
    return min(timeit.repeat(look, number=_LOOKS, repeat=_ROUNDS)) / stat
