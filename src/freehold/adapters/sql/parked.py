"""The rows of parked streams on an SQL database; part of the checkpoint store. Imports its siblings and the port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.upsert import insert_or_update
from freehold.adapters.sql.store import SqlStore, storable
from freehold.projection.store import Checkpoint, ParkedStream, ParkedStreamUpdate

__all__ = ["SqlParkedStreams"]

_DETAIL_CHARACTERS_MAX: Final = 2000
_COLUMNS: Final = (
    "projection, generation, partition, stream, position, version, event_id, type, error, detail, attempts,"
    " started_attempts, parked_at"
)
_KNOWN: Final = ("position", "version", "event_id", "type", "error", "detail", "attempts", "started_attempts", "due_at")
"""The columns that change when the stream is parked already."""


class SqlParkedStreams(SqlStore):
    """Stores one row for each parked stream; `parked_at` is the time when it was parked first."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        due = f"CASE WHEN {dialect.typed(2, 'float8')} IS NULL THEN NULL ELSE {dialect.later_sql(now, 2)} END"
        self._put = insert_or_update(
            dialect,
            "freehold_parked",
            f"INSERT INTO freehold_parked ({_COLUMNS}, due_at)"
            f" VALUES ($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, {now}, {due})",
            "projection, generation, stream",
            {column: f"new.{column}" for column in _KNOWN},
        )
        self._select = f"SELECT {_COLUMNS}, {dialect.seconds_sql('due_at', now)} FROM freehold_parked"

    async def put(self, sql: SqlConnection, checkpoint: Checkpoint, parked: ParkedStreamUpdate) -> None:
        """Insert the row of a stream, or update it."""
        place = (
            checkpoint.projection,
            checkpoint.generation,
            checkpoint.partition,
            parked.stream,
            parked.position,
            parked.version,
        )
        detail = storable(parked.detail, _DETAIL_CHARACTERS_MAX)
        what = (
            parked.type,
            storable(parked.error, _DETAIL_CHARACTERS_MAX),
            detail,
            parked.attempts,
            parked.started_attempts,
        )
        event_id = self._dialect.uuid(parked.event_id)
        await sql.execute(self._put, (self._dialect.now(), parked.retry_seconds, *place, event_id, *what))

    def select(self, wanted: Mapping[str, str | int | None], limit: int) -> tuple[str, Sequence[object]]:
        """A statement and its parameters for the rows with these values; None means any value."""
        given = {column: value for column, value in wanted.items() if value is not None}
        conditions = [f"{column} = ${number}" for number, column in enumerate(given, start=3)]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = f"{self._select} {where} ORDER BY projection, generation, position LIMIT $2"
        return statement, (self._dialect.now(), limit, *given.values())

    def read(self, row: Row) -> ParkedStream:
        """Read a row of `select`."""
        projection, generation, partition, stream, position, version, event_id, *what, parked_at, due_seconds = row
        type_, error, detail, attempts, started_attempts = what
        return ParkedStream(
            projection=projection,
            generation=generation,
            partition=partition,
            stream=stream,
            position=position,
            version=version,
            event_id=self._dialect.read_uuid(event_id),
            type=type_,
            error=error,
            detail=detail,
            attempts=attempts,
            parked_at=self._dialect.read_time(parked_at),
            due_seconds=None if due_seconds is None else float(due_seconds),
            started_attempts=started_attempts,
        )
