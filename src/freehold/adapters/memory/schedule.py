"""Scheduled messages in memory. Adapter: imports the scheduler port and the memory database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table, memory_transaction
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.schedule.store import ScheduledMessage, ScheduleStore

__all__ = ["MemoryScheduleStore"]

_SCHEDULE: Final[Table[UUID, ScheduledMessage]] = Table("schedule")


class MemoryScheduleStore(ScheduleStore):
    """Keeps scheduled messages by id."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def add(self, db_tx: DatabaseTransaction, message: OutgoingMessage, name: str, delay_seconds: float) -> None:
        """Add a message."""
        row = ScheduledMessage(message=message, name=name, due_at=self._database.later(delay_seconds))
        memory_transaction(db_tx).rows(_SCHEDULE).put(message.id, row)

    async def cancel(self, db_tx: DatabaseTransaction, message_id: UUID) -> bool:
        """Delete a message; False where it was moved."""
        return memory_transaction(db_tx).rows(_SCHEDULE).remove(message_id)

    async def take_due(self, db_tx: DatabaseTransaction, limit: int) -> Sequence[OutgoingMessage]:
        """Delete and return due messages, in order; no other transaction can do so meanwhile."""
        rows = memory_transaction(db_tx).rows(_SCHEDULE)
        due = [row for row in _ordered(rows.values()) if row.due_at <= self._database.now()][:limit]
        for row in due:
            rows.remove(row.message.id)
        return [row.message for row in due]

    async def next_due_seconds(self) -> float | None:
        """Seconds until the next message is due; None where there is none."""
        rows = (await self._database.read(_SCHEDULE)).values()
        soonest = min((row.due_at for row in rows), default=None)
        return None if soonest is None else (soonest - self._database.now()).total_seconds()

    async def find(self, name: str | None, limit: int) -> Sequence[ScheduledMessage]:
        """Scheduled messages, next first."""
        rows = [row for row in (await self._database.read(_SCHEDULE)).values() if name is None or row.name == name]
        return _ordered(rows)[:limit]


def _ordered(rows: Sequence[ScheduledMessage]) -> list[ScheduledMessage]:
    return sorted(rows, key=lambda row: (row.due_at, row.message.id))
