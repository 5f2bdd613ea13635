"""The pace of a relay: when it rests, and how many rows it fetches. Pattern: imports its package; does no I/O.

A relay that is woken while it publishes begins its next round at once, so batches form by themselves: the longer a
round takes, the more messages the next one finds. What a round costs apart from its messages (statements, a transaction
of each consumer that it wakes) is the same for one message and for a hundred. So a relay that is woken in every round,
or in the rest after it, rests between rounds, in proportion to what a round takes, and never longer than
`REST_SECONDS_MAX`. A relay that was idle does not rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.outbox.store import StagedMessage

__all__ = ["REST_SECONDS_MAX", "RelayPace"]

REST_SECONDS_MAX: Final = 0.01
_RESTS: Final = (0.0, 1.0, 2.0, 4.0)
"""The rest after the n-th round in a row under load, in durations of that round."""
_GROWTH_MAX: Final = 5
_ROUND_SECONDS_MAX: Final = 0.5
"""A round that takes longer is made shorter: a lease is handed over between rounds only."""
_BATCH_BYTES_MAX: Final = 4 * 1024 * 1024


class RelayPace:
    """The pace of one relay. `limit` is the number of rows of the next batch, between the relay's limit and five times
    as many: it grows while there is a backlog of small messages.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._least = limit
        self._in_a_row = 0

    @property
    def busy(self) -> bool:
        """Whether the relay was woken in the round before this one, or in the rest after it: more is expected soon."""
        return self._in_a_row > 0

    def idle(self) -> None:
        """Note that the relay waits until it is woken: the next rounds need no rest."""
        self._in_a_row = 0

    def rest_seconds(self, took_seconds: float) -> float:
        """Note another round under load; returns for how long the relay rests."""
        rest = _RESTS[min(self._in_a_row, len(_RESTS) - 1)] * took_seconds
        self._in_a_row += 1
        return min(REST_SECONDS_MAX, rest)

    def moved(self, rows: Sequence[StagedMessage], took_seconds: float, *, more: bool) -> None:
        """Note a round: the next one fetches more rows where the limit cut some off, and fewer where it took long."""
        if took_seconds > _ROUND_SECONDS_MAX:
            self.limit = max(self._least, self.limit // 2)
        elif not more or sum(len(row.message.document) for row in rows) * 2 > _BATCH_BYTES_MAX:
            self.limit = self._least
        else:
            self.limit = min(self.limit * 2, self._least * _GROWTH_MAX)
