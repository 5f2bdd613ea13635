"""The progress port: how far a consumer has come in what others publish. Pattern: imports the foundation, the ports.

A row means: this consumer has handled, deferred or dead-lettered everything of this lane through this watermark. The
watermark comes with the messages. The relay of the source stamps each message with its position in the lane, and with a
watermark: everything of the lane through it is on the broker, with this message or before it. The greatest position
that was handled would not do, because positions of the outbox are drawn before the commit:

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
    """How far a consumer has handled a lane.

    blocked_at         the lowest position of a message that was deferred and is not handled yet: the lane is complete
                       only up to it, whatever the watermark is. None if no message is deferred.
    appended_position  the position, in this service's own event store, of the last event that handling the lane
                       appended; 0 if it appended none.
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
        """Whether everything of the lane through a position was handled or given up. Once true, it stays so."""
        return self.watermark >= position and (self.blocked_at is None or self.blocked_at > position)


class ProgressStore(Protocol):
    """The store of how far consumers have come in the lanes that they read, in the consumer's own database.

    An implementation keeps:

    1. Progress is written in the transaction of the batch that is passed in, so it is never ahead of the effects: it
       commits with them, and rolls back with them.
    2. A watermark only rises, and so does `appended_position`, independently of it. A lower value changes nothing.
    3. Several instances may advance the same lanes at once, in different orders: they do not deadlock, and the greatest
       watermark remains.
    4. Consumers are independent of each other, and so are lanes. Results are in order of lane; an unknown lane is left
       out.
    5. `blocked_at` is the lowest position of the messages of the lane that are deferred now, and of no other lane.
    6. An advance is one round trip for any number of lanes.
    """

    async def advance(
        self, db_tx: DatabaseTransaction, consumer: str, watermarks: Mapping[str, int], *, appended_position: int = 0
    ) -> None:
        """Raise the watermarks of lanes, and their `appended_position`, to these values."""

    async def advance_last(
        self, db_tx: DatabaseTransaction, consumer: str, watermarks: Mapping[str, int], *, appended_position: int = 0
    ) -> None:
        """As `advance`, as a transaction's last write: nothing but its commit follows, and other writes that an engine
        sends with the commit. An engine may write it with them, in their order.
        """
        await self.advance(db_tx, consumer, watermarks, appended_position=appended_position)

    async def progress(self, consumer: str, lanes: Sequence[str] | None = None) -> Sequence[LaneProgress]:
        """The progress of these lanes, or of all; an unknown lane is left out."""


PROGRESS: Final[Port[ProgressStore]] = Port(
    "progress", "progress of consumers", ProgressStore, "freehold.conformance.progress:ProgressStoreConformance"
)

PROGRESSED: Final = Signal("progressed")
"""Messages were handled, or events projected: reads that wait look at the positions again."""
