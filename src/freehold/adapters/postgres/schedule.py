"""Scheduled messages on PostgreSQL, selected by functions in the database. Adapter: imports the SQL base.

The functions prevent the plans that the planner chooses for a table that was empty at the last ANALYZE.
"""

from __future__ import annotations

from freehold.adapters.sql.engine.connection import SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.schedule import SqlScheduleStore

__all__ = ["PostgresScheduleStore"]


class PostgresScheduleStore(SqlScheduleStore):
    """Stores messages by their due time."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._take = (
            f"SELECT due_at, position, id, topic, key, document FROM freehold_schedule_claim({now}, $2::integer)"
        )
        self._next_due = f"SELECT {dialect.seconds_sql('freehold_schedule_next_due()', now)}"
