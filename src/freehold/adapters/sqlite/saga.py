"""Sagas on SQLite. Adapter: imports the base of the SQL adapters."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.saga import ENTRY_COLUMNS, SqlSagaStore

__all__ = ["SqliteSagaStore"]


class SqliteSagaStore(SqlSagaStore):
    """Writes the row, then its journal: a statement of SQLite changes only one table."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        # Without statistics the planner may choose the index on all statuses, and read all of it.
        self._old = self._old.replace("FROM freehold_saga ", "FROM freehold_saga INDEXED BY freehold_saga_ended ")

    async def _write(
        self, sql: SqlConnection, statement: str, parameters: Sequence[object], saga_id: object, entries: str
    ) -> bool:
        if not await sql.execute(statement, parameters):
            return False
        await sql.execute(
            "INSERT INTO freehold_saga_journal (saga_id, at, step, what, attempt, detail)"
            " SELECT $1, e.at, e.step, e.what, e.attempt, e.detail"
            f" FROM {self._dialect.relation_sql(2, ENTRY_COLUMNS)} AS e ORDER BY e.place",
            (saga_id, entries),
        )
        return True
