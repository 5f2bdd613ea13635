"""The pace of a consumer: when it rests between two transactions. Pattern: imports the foundation; does no I/O.

A transaction costs the same for one message and for many. A consumer that gets messages again and again sooner than its
transactions take rests between them, for as long as the transaction took and no longer: a message waits for the rest
at most as long as the transaction takes that it saves. A message that comes later than that waits for nothing.
"""

from __future__ import annotations

import math
from typing import Final

from freehold.clock import Clock

__all__ = ["REST_SECONDS_MAX", "ConsumerPace"]

REST_SECONDS_MAX: Final = 0.01
_WITHOUT_REST: Final = 2
"""So many transactions that closely follow another one are no load yet."""


class ConsumerPace:
    """The pace of one consumer, whose workers share it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rest_until = -math.inf
        self._took_seconds = 0.0
        self._in_a_row = 0

    def rest_seconds(self) -> float:
        """For how long the consumer rests before it fetches; 0 or less for not at all."""
        return self._rest_until - self._clock.monotonic()

    def came(self) -> None:
        """Note that messages were fetched."""
        soon = self._clock.monotonic() - self._rest_until <= self._took_seconds
        self._in_a_row = self._in_a_row + 1 if soon else 0

    def handled(self, took_seconds: float, *, may_rest: bool) -> None:
        """Note a transaction. `may_rest`: more messages would have fitted into it; else a rest saves nothing."""
        self._took_seconds = took_seconds
        rest = min(took_seconds, REST_SECONDS_MAX) if may_rest and self._in_a_row >= _WITHOUT_REST else 0.0
        self._rest_until = self._clock.monotonic() + rest
