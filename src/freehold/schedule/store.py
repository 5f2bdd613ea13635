"""The scheduler port: messages to be sent later, durable and cancellable. Pattern: imports the foundation and the
ports.

A scheduled message moves to the outbox in one transaction when it is due, by any instance, once (`send_due`). Time is
the database's own where it has one (PostgreSQL), so that instances with differing clocks agree.
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
    """Where scheduled messages wait: the service's own database."""

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
