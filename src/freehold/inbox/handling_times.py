"""How long the handlers of each partition take, which decides what shares a transaction. Pattern: imports nothing."""

from __future__ import annotations

import math

__all__ = ["HandlingTimes"]

_KEPT = 0.9
"""The part of an earlier, longer time that is left after each message: some dozen messages make a partition quick."""


class HandlingTimes:
    """The expected time of a message's handler, by partition.

    It rises at once, and falls slowly: a slow handler that is taken for a quick one makes other partitions wait.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def note(self, place: str, seconds: float) -> None:
        """Note how long the handler of a message took."""
        self._seconds[place] = max(seconds, self._seconds.get(place, 0.0) * _KEPT + seconds * (1.0 - _KEPT))

    def note_passed(self, place: str) -> None:
        """Note that messages were passed, also where no handler was called for any of them."""
        self._seconds.setdefault(place, 0.0)

    def expected_seconds(self, place: str, messages: int) -> float:
        """The expected time of so many messages of a partition; infinite where none was handled yet."""
        return self._seconds.get(place, math.inf) * messages
