"""The brokers' logs that a service has used, on an SQL database. Imports its siblings and the ports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import Row, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.store import SqlStore
from freehold.database import DatabaseTransaction
from freehold.outbox.log import BrokerLog, BrokerLogStore

__all__ = ["SqlBrokerLogStore"]

_READ: Final = "SELECT place, identity, lost_at, losses FROM freehold_outbox_log WHERE place = $1"
_MARK: Final = "SELECT mark FROM freehold_outbox_log WHERE place = $1"
_KEEP_MARK: Final = "UPDATE freehold_outbox_log SET mark = $3 WHERE place = $1 AND identity = $2"
_LOST: Final = """\
SELECT place, identity, lost_at, losses FROM freehold_outbox_log WHERE lost_at IS NOT NULL ORDER BY place"""
_END_LOSS: Final = """\
UPDATE freehold_outbox_log SET lost_at = NULL
WHERE place = $1 AND identity = $2 AND losses = $3 AND lost_at IS NOT NULL"""


class SqlBrokerLogStore(SqlStore, BrokerLogStore):
    """Stores one row for each place of a log. `staged_sql` is the condition that the outbox has ever had a row."""

    def __init__(self, database: SqlDatabase, dialect: Dialect, *, staged_sql: str) -> None:
        super().__init__(database, dialect)
        self._note = f"""
INSERT INTO freehold_outbox_log AS l (place, identity, noted_at) VALUES ($2, $3, {dialect.now_sql(1)})
ON CONFLICT (place) DO UPDATE SET identity = excluded.identity, noted_at = excluded.noted_at, mark = '',
    lost_at = CASE WHEN {staged_sql} THEN coalesce(l.lost_at, excluded.noted_at) ELSE l.lost_at END,
    losses = CASE WHEN {staged_sql} THEN l.losses + 1 ELSE l.losses END
WHERE l.identity <> excluded.identity OR l.mark = $4
RETURNING place, identity, lost_at, losses"""

    async def note(self, place: str, identity: str, *, lacks: str | None = None) -> BrokerLog:
        """Read the row first, because it is nearly always unchanged; otherwise note the new log."""
        rows = await self._read(place)
        if not rows or rows[0][1] != identity or lacks is not None:
            changed = await self._changed(place, identity, lacks)
            if changed:
                losses_before = rows[0][3] if rows else 0
                return self._log(changed[0], is_news=changed[0][3] > losses_before)
            rows = await self._read(place)
        return self._log(rows[0])

    async def _read(self, place: str) -> Sequence[Row]:
        async with self._database.direct() as sql:
            return await sql.fetch(_READ, (place,))

    async def _changed(self, place: str, identity: str, lacks: str | None) -> Sequence[Row]:
        """Write down what was found; returns the row where it was new or another."""
        async with self._database.direct() as sql:
            return await sql.fetch(self._note, (self._dialect.now(), place, identity, lacks))

    async def mark(self, place: str) -> str:
        """The stored mark of a place; empty where there is none."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(_MARK, (place,))
        return str(rows[0][0]) if rows else ""

    async def keep_mark(self, place: str, identity: str, mark: str) -> None:
        """Store a mark; nothing where the place has another identity."""
        async with self._database.direct() as sql:
            await sql.execute(_KEEP_MARK, (place, identity, mark))

    async def lost(self) -> Sequence[BrokerLog]:
        """The logs with an open loss, by an index of only those rows."""
        async with self._database.direct() as sql:
            return [self._log(row) for row in await sql.fetch(_LOST)]

    async def end_loss(self, db_tx: DatabaseTransaction, log: BrokerLog) -> bool:
        """End a loss; False where it has ended or another one was found. One statement."""
        return await sql_of(db_tx).execute(_END_LOSS, (log.place, log.identity, log.losses)) == 1

    def _log(self, row: Row, *, is_news: bool = False) -> BrokerLog:
        place, identity, lost_at, losses = row
        return BrokerLog(
            place, identity, None if lost_at is None else self._dialect.read_time(lost_at), losses, is_news
        )
