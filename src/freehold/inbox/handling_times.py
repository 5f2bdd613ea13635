"""How long the handlers of each partition take: it decides what shares a transaction. Pattern: imports its package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from freehold.broker import Batch
from freehold.inbox.batches import place_of

__all__ = ["TOGETHER_SECONDS", "HandlingTimes"]

TOGETHER_SECONDS: Final = 0.008
"""For so long, at most, the messages of a partition may wait for the handlers of others."""

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

    def are_quick(self, batches: Sequence[Batch]) -> bool:
        """Whether the handlers of all these messages are expected to end soon. No, where a partition is not known."""
        expected = (self._seconds.get(place_of(batch), math.inf) * len(batch.deliveries) for batch in batches)
        return sum(expected) <= TOGETHER_SECONDS
