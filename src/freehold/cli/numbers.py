"""Numbers on a command line: finite, and within what anything means. Face: imports click.

For the command lines of projects as well. `nan` is in every range, as far as comparisons go, and a wait of `inf` never
ends: both are refused as wrong usage.
"""

from __future__ import annotations

import math
from typing import Any, Final

import click

__all__ = ["COUNT", "POSITION", "SECONDS_MAX", "FiniteRange", "StoredRange", "seconds"]

SECONDS_MAX: Final = 10 * 366 * 86400.0
"""Ten years: what is longer is a slip of the hand."""
_INTEGER_MAX: Final = 2**63 - 1


class FiniteRange(click.FloatRange):
    """A range of numbers: none that is infinite, or beyond ten years of seconds. Help shows the range that is given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails as wrong usage."""
        number = float(click.FLOAT.convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is no number of anything.", param, ctx)
        if number > SECONDS_MAX:
            self.fail(f"{number:g} is more than {SECONDS_MAX}.", param, ctx)
        return float(super().convert(number, param, ctx))


class StoredRange(click.IntRange):
    """A range of integers that a database's column can hold."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Fails as wrong usage."""
        number = int(click.INT.convert(value, param, ctx))
        if number > _INTEGER_MAX:
            self.fail(f"it is more than {_INTEGER_MAX}.", param, ctx)
        return int(super().convert(number, param, ctx))


def seconds(least: float = 0, *, above: bool = False) -> FiniteRange:
    """A time span of at least so many seconds, or of more."""
    return FiniteRange(min=least, min_open=above)


COUNT: Final = StoredRange(min=1)
"""A number of things, or the number of one."""
POSITION: Final = StoredRange(min=0)
"""A place in a log."""
