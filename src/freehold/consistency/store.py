"""The progress port: how far a consumer has come in what others publish. Pattern: imports the foundation, the ports.

A row says: this consumer has handled, deferred or dead-lettered everything of this lane through this watermark. The
watermark comes with the messages: the relay of the source stamps each with its position in the lane, and with the
position through which everything of the lane is on the broker before it or is it itself. The greatest position that was
handled would not do, for positions of the outbox are drawn before the commit:

    t1  two transactions of the source draw positions 16 and 17 of a lane
    t2  the one with 17 commits; the relay publishes 17, with watermark 15
    t3  the consumer handles 17 and stores watermark 15: a read that waits for 16 is not told that it is fresh
    t4  the one with 16 commits; the relay publishes 16, with watermark 17, and the consumer stores that
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from freehold.context import Signal
from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = ["PROGRESS", "PROGRESSED", "LaneProgress", "ProgressStore"]


@dataclass(frozen=True, slots=True)
class LaneProgress:
    """How far a lane has been read, and since when. `blocked_at` is the least position in it of a message that was
    deferred and is not handled yet: from there on the lane is not complete, whatever the watermark says.
    `appended_position` is the position in this service's own event store of the last event that handling the lane
    appended, 0 where none was.
    """

    lane: str
    watermark: int
    updated_at: datetime
    blocked_at: int | None = None
    appended_position: int = 0

    @property
    def blocked(self) -> bool:
        """Whether a message of the lane is deferred."""
        return self.blocked_at is not None

    def covers(self, position: int) -> bool:
        """Whether everything of the lane through this position was handled or given up. It stays true."""
        return self.watermark >= position and (self.blocked_at is None or self.blocked_at > position)


class ProgressStore(Protocol):
    """The store of how far consumers have come in the lanes that they read, in the consumer's own database.

    An implementation keeps:

    1. Progress is written in the transaction of the batch that is passed in, so it never runs ahead of the effects: it
       is there with the commit, and not there after a rollback.
    2. A watermark only rises, and so does `appended_position`, each by itself. What is lower changes nothing, also
       where it comes last.
    3. Several instances may advance the same lanes at once, each in an order of its own: they do not deadlock, and the
       greatest watermark remains.
    4. Consumers are apart, and so are lanes. What is read is in order of lane, and a lane not heard of is left out.
    5. `blocked_at` is the least position of the messages of the lane that are deferred now, and concerns no other lane.
    6. An advance is one round trip, however many lanes it names.
    """

    async def advance(
        self, db_tx: DatabaseTransaction, consumer: str, watermarks: Mapping[str, int], *, appended_position: int = 0
    ) -> None:
        """Raise the watermarks of lanes, and `appended_position` where it is higher."""

    async def progress(self, consumer: str, lanes: Sequence[str] | None = None) -> Sequence[LaneProgress]:
        """How far lanes have been read, all lanes where none are named; a lane not heard of is left out."""


PROGRESS: Final[Port[ProgressStore]] = Port(
    "progress", "progress of consumers", ProgressStore, "freehold.conformance.progress:ProgressStoreConformance"
)

PROGRESSED: Final = Signal("progressed")
"""Messages were handled, or events projected: whoever waits for a position looks again."""
