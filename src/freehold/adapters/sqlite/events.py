"""The event store on SQLite. With one writer at a time, positions are in the order of commit. Imports the SQL base.

So the highest committed position is the high-water mark: no event can appear below it later. `+column` keeps the
planner from using another index than the one that is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from freehold.adapters.sql.engine.connection import SqlConnection, sql_of
from freehold.adapters.sql.events import columns
from freehold.adapters.sql.indexed_events import VERSION, SqlIndexedEventStore
from freehold.database import DatabaseTransaction
from freehold.eventstore.append import check_appends, conflict, is_met
from freehold.eventstore.store import Append, AppendResult

__all__ = ["SqliteEventStore"]

_INSERT = (
    "INSERT INTO freehold_event (stream, version, category, bucket, type, schema_version, id, data, correlation_id,"
    " causation_id, hlc, trace_parent, subject_key, headers, recorded_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
)


class SqliteEventStore(SqlIndexedEventStore):
    """Stores events by position."""

    columns: ClassVar[str] = columns("recorded_at / 1000000.0")
    along: ClassVar[str] = "INDEXED BY {}"
    walk: ClassVar[str] = "NOT INDEXED"
    unindexed: ClassVar[str] = "+"

    async def _settled(self, sql: SqlConnection) -> int:
        return int((await sql.fetch("SELECT coalesce(max(position), 0) FROM freehold_event"))[0][0])

    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Check the versions and insert the events; no other transaction can write in between."""
        if not appends:
            return ()
        check_appends(appends)
        sql = sql_of(db_tx)
        versions = [int((await sql.fetch(VERSION, (each.stream,)))[0][0]) for each in appends]
        for each, version in zip(appends, versions, strict=True):
            if not is_met(each, version):
                raise conflict(each, version)
        now = self._dialect.now()
        rows = [row for each, version in zip(appends, versions, strict=True) for row in self._rows(each, version, now)]
        await sql.execute_many(_INSERT, rows)
        last = int((await sql.fetch("SELECT last_insert_rowid()"))[0][0])
        drawn = iter(range(last - len(rows) + 1, last + 1))
        return [
            AppendResult(each.stream, version + len(each.events), tuple(next(drawn) for _ in each.events))
            for each, version in zip(appends, versions, strict=True)
        ]

    async def append_now(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Append in a transaction of its own."""
        async with self._database.begin() as db_tx:
            return await self.append(db_tx, appends)
