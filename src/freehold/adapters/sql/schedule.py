"""Scheduled messages on an SQL database. Base of the SQL engines: imports its siblings and the ports.

One process at a time moves due messages to the outbox (`try_lock`); others move nothing meanwhile. If two moved at the
same time, the one with the later message of a key could commit first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.claim import take
from freehold.adapters.sql.families.key_lock import try_lock
from freehold.adapters.sql.store import SqlStore
from freehold.broker import OutgoingMessage
from freehold.database import DatabaseTransaction
from freehold.schedule.store import ScheduledMessage, ScheduleStore

__all__ = ["SqlScheduleStore"]

_MOVER: Final = "freehold.schedule"


class SqlScheduleStore(SqlStore, ScheduleStore):
    """Stores messages by their due time."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._add = f"""
INSERT INTO freehold_schedule (due_at, id, name, topic, key, document)
VALUES ({dialect.later_sql(now, 2)}, $3, $4, $5, $6, $7)"""
        due = f"SELECT id FROM freehold_schedule WHERE due_at <= {now} ORDER BY due_at, position LIMIT $2"
        self._take = take(dialect, "freehold_schedule", "id", due, "due_at, position, id, topic, key, document")
        self._next_due = f"SELECT {dialect.seconds_sql('min(due_at)', now)} FROM freehold_schedule"

    async def add(self, db_tx: DatabaseTransaction, message: OutgoingMessage, name: str, delay_seconds: float) -> None:
        """Insert a message."""
        parameters = (self._dialect.uuid(message.id), name, message.topic, message.key, message.document)
        await sql_of(db_tx).execute(self._add, (self._dialect.now(), delay_seconds, *parameters))

    async def cancel(self, db_tx: DatabaseTransaction, message_id: UUID) -> bool:
        """Delete a message; False where it was moved. Waits for a move in progress."""
        count = await sql_of(db_tx).execute(
            "DELETE FROM freehold_schedule WHERE id = $1", (self._dialect.uuid(message_id),)
        )
        return count == 1

    async def take_due(self, db_tx: DatabaseTransaction, limit: int) -> Sequence[OutgoingMessage]:
        """Delete and return due messages, in order; none where another transaction holds the lock of the mover."""
        sql = sql_of(db_tx)
        if not await try_lock(sql, self._dialect, _MOVER):
            return ()
        rows = await self._taken(sql, limit)
        return [self._outgoing(row[2:]) for row in sorted(rows, key=lambda row: (row[0], row[1]))]

    async def _taken(self, sql: SqlConnection, limit: int) -> Sequence[Row]:
        """Delete what is due; returns due time, position, id, topic, key and document of each."""
        return await sql.fetch(self._take, (self._dialect.now(), limit))

    async def next_due_seconds(self) -> float | None:
        """Seconds until the next message is due; None where there is none."""
        async with self._database.direct() as sql:
            ((seconds,),) = await sql.fetch(self._next_due, (self._dialect.now(),))
        return None if seconds is None else float(seconds)

    async def find(self, name: str | None, limit: int) -> Sequence[ScheduledMessage]:
        """Scheduled messages, next first."""
        where, parameters = ("", (limit,)) if name is None else ("WHERE name = $2", (limit, name))
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "SELECT id, topic, key, document, name, due_at FROM freehold_schedule"
                f" {where} ORDER BY due_at, position LIMIT $1",
                parameters,
            )
        return [ScheduledMessage(self._outgoing(row[:4]), row[4], self._dialect.read_time(row[5])) for row in rows]

    def _outgoing(self, row: Row) -> OutgoingMessage:
        message_id, topic, key, document = row
        return OutgoingMessage(self._dialect.read_uuid(message_id), topic, key, bytes(document))
