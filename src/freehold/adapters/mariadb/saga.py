"""Sagas on MariaDB: the row, then its journal. Adapter: imports the base of the SQL adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.families.upsert import inserted
from freehold.adapters.sql.saga import ENTRY_COLUMNS, SqlSagaStore
from freehold.saga.store import JournalEntry

__all__ = ["MariaDbSagaStore"]


class MariaDbSagaStore(SqlSagaStore):
    """MariaDB changes one table in a statement, so there are two of them."""

    async def _write(
        self, sql: SqlConnection, statement: str, parameters: Sequence[object], saga_id: object, entries: str
    ) -> bool:
        if not await inserted(sql, self._dialect, statement, parameters):
            return False
        await sql.execute(
            "INSERT INTO freehold_saga_journal (saga_id, at, step, what, attempt, detail)"
            " SELECT $1, e.at, e.step, e.what, e.attempt, e.detail"
            f" FROM {self._dialect.relation_sql(2, ENTRY_COLUMNS)} AS e ORDER BY e.place",
            (saga_id, entries),
        )
        return True

    def _entry(self, place: int, entry: JournalEntry) -> Mapping[str, str | int | None]:
        return {**super()._entry(place, entry), "at": str(self._dialect.time(entry.at))}
