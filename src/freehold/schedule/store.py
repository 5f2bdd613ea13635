"""The scheduler port: messages to be sent later, durable and cancellable. Pattern: imports the foundation and the
ports.

Any instance moves what is due to the outbox (`send_due`), one at a time. If two of them moved side by side:

    t1  A takes the first message of a key, and has not staged it yet
    t2  B takes the second message of the key, stages it and commits
    t3  A stages the first message and commits: it is published after the second

So B finds nothing at t2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from freehold.broker import OutgoingMessage
from freehold.context import Signal
from freehold.database import DatabaseTransaction
from freehold.ports import Port

__all__ = ["SCHEDULE", "SCHEDULED", "ScheduleStore", "ScheduledMessage"]


@dataclass(frozen=True, slots=True)
class ScheduledMessage:
    """A message with the time it is due. `name` groups and finds it, e.g. the message type."""

    message: OutgoingMessage
    name: str
    due_at: datetime


class ScheduleStore(Protocol):
    """The store of messages that wait for their due time, in the service's own database.

    An implementation keeps:

    1. Scheduling and cancelling belong to the transaction that is passed in. After a rollback a new message is not
       scheduled, and a cancelled one still is.
    2. A message leaves the schedule in the transaction that stages it: not before it is due, unchanged, and once,
       whatever number of instances look.
    3. Messages are taken by the time they are due, and of one time in the order in which they were scheduled; `limit`
       bounds a call.
    4. One transaction at a time takes what is due; meanwhile others get nothing. So the order of a key holds in the
       outbox.
    5. A message is either cancelled or moved. `cancel` is true once, and false for what was moved or never was.
    6. Time is the database's own if it has one (PostgreSQL), so that instances with differing clocks agree.
    """

    async def add(self, db_tx: DatabaseTransaction, message: OutgoingMessage, name: str, delay_seconds: float) -> None:
        """Schedule in the business transaction; the message's id is the handle to cancel it by."""

    async def cancel(self, db_tx: DatabaseTransaction, message_id: UUID) -> bool:
        """Take it back in the business transaction. False: it is on its way, or was never there."""

    async def take_due(self, db_tx: DatabaseTransaction, limit: int) -> Sequence[OutgoingMessage]:
        """Take messages that are due out of the schedule, oldest first, in the transaction of whoever stages them.
        Nothing where another transaction has taken some and has not ended: of two that stage side by side, the one with
        the later message of a key could commit first.
        """

    async def next_due_seconds(self) -> float | None:
        """Seconds until the next is due (below zero: one has been due for so long), None when none waits."""

    async def find(self, name: str | None, limit: int) -> Sequence[ScheduledMessage]:
        """Scheduled messages, next first; for people."""


SCHEDULE: Final[Port[ScheduleStore]] = Port(
    "schedule", "scheduled messages", ScheduleStore, "freehold.conformance.schedule:ScheduleStoreConformance"
)

SCHEDULED: Final = Signal("scheduled")
"""A commit put messages into the schedule."""
