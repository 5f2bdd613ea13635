"""The schedule port: messages to be sent later, durable and cancellable. Pattern: imports the foundation and the ports.

Any process moves due messages to the outbox (`send_due`), one process at a time. If two of them did so in parallel:

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
    """A message with its due time. `name` groups messages in listings; it is the message type."""

    message: OutgoingMessage
    name: str
    due_at: datetime


class ScheduleStore(Protocol):
    """The store of messages that wait for their due time, in the service's own database.

    An implementation keeps:

    1. Scheduling and cancelling belong to the transaction that is passed in. After a rollback a new message is not
       scheduled, and a cancelled one still is.
    2. A message leaves the schedule in the transaction that stages it: not before it is due, unchanged, and once, with
       any number of concurrent callers.
    3. Messages are taken in the order of their due times, and at equal times in the order in which they were scheduled;
       `limit` bounds a call.
    4. One transaction at a time takes due messages; meanwhile others get nothing. So the order of a key holds in the
       outbox.
    5. A message is either cancelled or moved. `cancel` is true once, and false for a message that was moved or never
       existed.
    6. Time is the database's own if it has a clock (PostgreSQL), so that processes with different clocks agree.
    """

    async def add(self, db_tx: DatabaseTransaction, message: OutgoingMessage, name: str, delay_seconds: float) -> None:
        """Schedule a message in the business transaction; `cancel` takes the message's id."""

    async def cancel(self, db_tx: DatabaseTransaction, message_id: UUID) -> bool:
        """Cancel a message in the business transaction. False: it was moved already, or never existed."""

    async def take_due(self, db_tx: DatabaseTransaction, limit: int) -> Sequence[OutgoingMessage]:
        """Delete due messages from the schedule and return them, oldest first, in the transaction that stages them.
        Nothing is returned while another transaction that took some is open: of two in parallel, the one with the later
        message of a key could commit first.
        """

    async def next_due_seconds(self) -> float | None:
        """Return the seconds until the next message is due (negative: overdue for that long), None for no message."""

    async def find(self, name: str | None, limit: int) -> Sequence[ScheduledMessage]:
        """Return scheduled messages, the next one first, for operators. `name` None: of all names."""


SCHEDULE: Final[Port[ScheduleStore]] = Port(
    "schedule", "scheduled messages", ScheduleStore, "freehold.conformance.schedule:ScheduleStoreConformance"
)

SCHEDULED: Final = Signal("scheduled")
"""A commit added messages to the schedule."""
