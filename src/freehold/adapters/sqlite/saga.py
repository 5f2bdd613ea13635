"""Sagas on SQLite: the row, then its journal. Adapter: imports the base of the SQL adapters."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.adapters.sql.connection import SqlConnection
from freehold.adapters.sql.saga import ENTRY_COLUMNS, SqlSagaStore

__all__ = ["SqliteSagaStore"]


class SqliteSagaStore(SqlSagaStore):
    """SQLite changes one table in a statement, so there are two of them."""

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
