"""The progress of consumers by lane on an SQL database. Base of the SQL engines: imports its siblings and the ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freehold.adapters.sql.engine.connection import SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.upsert import insert_or_update
from freehold.adapters.sql.store import SqlStore
from freehold.consistency.store import LaneProgress, ProgressStore
from freehold.database import DatabaseTransaction

__all__ = ["SqlProgressStore"]


class SqlProgressStore(SqlStore, ProgressStore):
    """Stores watermarks by consumer and lane. Blocked positions come from the inbox's table of deferred messages."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        # In order of lane: two transactions that advance the same lanes may wait for each other, but cannot deadlock.
        given = f"""\
INSERT INTO freehold_progress (consumer, lane, watermark, appended_position, updated_at)
SELECT {dialect.typed(2, "text")}, g.lane, g.watermark, {dialect.typed(4, "bigint")}, {dialect.now_sql(1)}
FROM {dialect.relation_sql(3, "lane text, watermark bigint")} AS g
WHERE true ORDER BY g.lane"""
        self._advance = insert_or_update(
            dialect,
            "freehold_progress",
            given,
            "consumer, lane",
            {
                "updated_at": "new.updated_at",
                "watermark": "CASE WHEN old.watermark < new.watermark THEN new.watermark ELSE old.watermark END",
                "appended_position": "CASE WHEN old.appended_position < new.appended_position"
                " THEN new.appended_position ELSE old.appended_position END",
            },
            where="old.watermark < new.watermark OR old.appended_position < new.appended_position",
        )
        self._progress = """\
SELECT p.lane, p.watermark, p.updated_at, (
    SELECT min(d.lane_position) FROM freehold_deferred AS d WHERE d.consumer = p.consumer AND d.lane = p.lane
), p.appended_position
FROM freehold_progress AS p WHERE p.consumer = $1"""
        self._some = f"{self._progress} AND p.lane {dialect.in_sql(2, 'text')} ORDER BY p.lane"

    async def advance(
        self, db_tx: DatabaseTransaction, consumer: str, watermarks: Mapping[str, int], *, appended_position: int = 0
    ) -> None:
        """Raise watermarks, in one statement."""
        if not watermarks:
            return
        given = self._dialect.relation_value(
            [{"lane": lane, "watermark": watermark} for lane, watermark in watermarks.items()]
        )
        await sql_of(db_tx).execute(self._advance, (self._dialect.now(), consumer, given, appended_position))

    async def progress(self, consumer: str, lanes: Sequence[str] | None = None) -> Sequence[LaneProgress]:
        """The progress of lanes, in one statement: a watermark and the deferrals before it come from one snapshot."""
        async with self._database.direct() as sql:
            if lanes is None:
                rows = await sql.fetch(f"{self._progress} ORDER BY p.lane", (consumer,))
            else:
                rows = await sql.fetch(self._some, (consumer, self._dialect.list_value(lanes)))
        return [
            LaneProgress(lane, watermark, self._dialect.read_time(updated_at), blocked, appended_position)
            for lane, watermark, updated_at, blocked, appended_position in rows
        ]
