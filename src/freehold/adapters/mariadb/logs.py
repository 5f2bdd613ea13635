"""Logs of brokers on MariaDB: noted in a transaction, which locks the row. Imports the SQL base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.mariadb.outbox import STAGED_SQL
from freehold.adapters.sql.engine.connection import Row, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.upsert import inserted
from freehold.adapters.sql.logs import SqlBrokerLogStore

__all__ = ["MariaDbBrokerLogStore"]

_READ: Final = "SELECT place, identity, lost_at, losses FROM freehold_outbox_log WHERE place = $1"
_IS_ANOTHER: Final = "SELECT identity <> $2 OR mark <=> $3 FROM freehold_outbox_log WHERE place = $1 FOR UPDATE"


class MariaDbBrokerLogStore(SqlBrokerLogStore):
    """Rows by place."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect, staged_sql=STAGED_SQL)
        now = dialect.now_sql(1)
        self._insert = f"INSERT INTO freehold_outbox_log (place, identity, noted_at) VALUES ($2, $3, {now})"
        # From left to right: what was lost is judged before anything is overwritten.
        self._replace = f"""
UPDATE freehold_outbox_log
SET lost_at = CASE WHEN {STAGED_SQL} THEN coalesce(lost_at, {now}) ELSE lost_at END,
    losses = CASE WHEN {STAGED_SQL} THEN losses + 1 ELSE losses END, identity = $3, noted_at = {now}, mark = ''
WHERE place = $2"""

    async def _changed(self, place: str, identity: str, lacks: str | None) -> Sequence[Row]:
        """An INSERT that is refused leaves a shared lock, with which two would wait for each other: it ends its
        transaction, and the row is locked in the next one.
        """
        given = (self._dialect.now(), place, identity)
        while True:
            async with self._database.begin() as db_tx:
                found = await db_tx.sql.fetch(_IS_ANOTHER, (place, identity, lacks))
                if found and not found[0][0]:
                    return ()
                if found:
                    await db_tx.sql.execute(self._replace, given)
                if found or await inserted(db_tx.sql, self._dialect, self._insert, given):
                    return await db_tx.sql.fetch(_READ, (place,))
