"""Scheduled messages on PostgreSQL: found by functions in the database. Adapter: imports the SQL base.

The functions keep the planner from what it would do with a table that was empty when it last looked.
"""

from __future__ import annotations

from freehold.adapters.sql.engine.connection import SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.schedule import SqlScheduleStore

__all__ = ["PostgresScheduleStore"]


class PostgresScheduleStore(SqlScheduleStore):
    """Messages by the time they are due."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._take = (
            f"SELECT due_at, position, id, topic, key, document FROM freehold_schedule_claim({now}, $2::integer)"
        )
        self._next_due = f"SELECT {dialect.seconds_sql('freehold_schedule_next_due()', now)}"
