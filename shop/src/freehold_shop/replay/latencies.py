"""Percentiles of any number of latencies in constant memory. Imports the standard library only.

Latencies are counted in buckets whose bounds grow by `GROWTH`, so a percentile is right to 1 %, from a tenth of a
millisecond to a day.
"""

from __future__ import annotations

import math
from array import array

__all__ = ["GROWTH", "Latencies"]

GROWTH = 1.01
_SMALLEST_SECONDS = 0.0001
_LARGEST_SECONDS = 86_400.0
_LOG_GROWTH = math.log(GROWTH)
_BUCKETS = math.ceil(math.log(_LARGEST_SECONDS / _SMALLEST_SECONDS) / _LOG_GROWTH) + 2


class Latencies:
    """A histogram of latencies; one out of range counts in the nearest bucket."""

    def __init__(self) -> None:
        self._counts = array("q", bytes(8 * _BUCKETS))
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one. It may be negative where a clock was set back, and then counts as zero."""
        index = 0
        if seconds > _SMALLEST_SECONDS:
            index = min(math.ceil(math.log(seconds / _SMALLEST_SECONDS) / _LOG_GROWTH), _BUCKETS - 1)
        self._counts[index] += 1
        self.count += 1

    def percentile(self, percent: float) -> float | None:
        """The smallest latency that at least `percent` of all do not exceed (nearest rank); None where there are none.

        In seconds, at most 1 % too high.
        """
        if self.count == 0:
            return None
        rank = max(1, math.ceil(self.count * percent / 100.0))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return _SMALLEST_SECONDS * GROWTH**index
        raise AssertionError("the sum of the buckets is less than the count")
