"""Scheduled messages on MariaDB: chosen in one statement, deleted in another. Imports the SQL base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.schedule import SqlScheduleStore

__all__ = ["MariaDbScheduleStore"]

_DELETE: Final = "DELETE FROM freehold_schedule WHERE id IN $1"


class MariaDbScheduleStore(SqlScheduleStore):
    """Messages by the time they are due."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._due = f"""
SELECT due_at, position, id, topic, key, document FROM freehold_schedule WHERE due_at <= {dialect.now_sql(1)}
ORDER BY due_at, position LIMIT $2 {dialect.lock_free_rows}"""

    async def _taken(self, sql: SqlConnection, limit: int) -> Sequence[Row]:
        rows = await sql.fetch(self._due, (self._dialect.now(), limit))
        if rows:
            await sql.execute(_DELETE, (tuple(row[2] for row in rows),))
        return rows
