"""Sagas on PostgreSQL: the row and its journal in one statement. Adapter: imports the base of the SQL adapters."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.adapters.sql.connection import SqlConnection, SqlDatabase
from freehold.adapters.sql.dialect import Dialect
from freehold.adapters.sql.saga import ENTRY_COLUMNS, SqlSagaStore

__all__ = ["PostgresSagaStore"]


class PostgresSagaStore(SqlSagaStore):
    """The journal is appended by the statement that writes the row, from what it returns."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._due = f"{self._select_from(f'freehold_saga_take({now}, $2::integer)')} ORDER BY due_at, id"
        self._next_due = f"SELECT {dialect.seconds_sql('freehold_saga_next_due()', now)}"

    async def _write(
        self, sql: SqlConnection, statement: str, parameters: Sequence[object], saga_id: object, entries: str
    ) -> bool:
        rows = await sql.fetch(
            f"""\
WITH written AS ({statement} RETURNING id), journalled AS (
    INSERT INTO freehold_saga_journal (saga_id, at, step, what, attempt, detail)
    SELECT written.id, e.at, e.step, e.what, e.attempt, e.detail
    FROM written CROSS JOIN {self._dialect.relation_sql(len(parameters) + 1, ENTRY_COLUMNS)} AS e ORDER BY e.place
)
SELECT id FROM written""",
            (*parameters, entries),
        )
        return bool(rows)
