"""An event store that reads along indexes which its statements name. Base of the SQL engines: imports its siblings and
the ports.

For a filter by types (or categories) each type is read along its index, and the rows are sorted by position. All other
conditions of a filter are checked row by row. The engine's own `events` module says how a statement names an index, how
events are appended, and what the high-water mark is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Final, cast

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.events import SqlEventStore, encode_headers
from freehold.database import DatabaseTransaction
from freehold.eventstore.store import (
    EVERYTHING,
    Append,
    Body,
    EventFilter,
    Page,
    RecordedEvent,
    bucket_of,
    category_of,
    checked_limit,
)

__all__ = ["VERSION", "SqlIndexedEventStore"]

_VERSION_MAX: Final = 2**63 - 1
_WINDOW_MIN: Final = 20_000
"""The least number of positions that a call covers when it must check rows one by one."""
_TERMS_MAX: Final = 100
"""A compound SELECT may have 500 terms; with more than some of them one scan along the positions is cheaper."""
_NONE: Final[frozenset[str]] = frozenset()
_BODIES: Final = (
    "SELECT version, type, schema_version, data FROM freehold_event"
    " WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3"
)
VERSION: Final = "SELECT coalesce(max(version), 0) FROM freehold_event WHERE stream = $1"


class SqlIndexedEventStore(SqlEventStore):
    """Events by position."""

    columns: ClassVar[str]
    """What `_recorded` reads."""
    along: ClassVar[str]
    """What stands behind the table to read it along an index; `{}` is the index's name."""
    walk: ClassVar[str]
    """What stands there to read it in the order of positions."""
    unindexed: ClassVar[str] = ""
    """What stands before a column that is no reason to choose an index."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        stream = f"SELECT {self.columns} FROM freehold_event WHERE stream = $1 AND version > $2 AND version < $3"
        self._forwards = f"{stream} ORDER BY version LIMIT $4"
        self._backwards = f"{stream} ORDER BY version DESC LIMIT $4"

    @abstractmethod
    async def _settled(self, sql: SqlConnection) -> int:
        """The high-water mark, for the statements that follow on this connection: an event's position, or 0."""

    def _rows(self, append: Append, version: int, now: object) -> list[tuple[object, ...]]:
        """The rows of an append to a stream at this version: name, version, category, bucket, event, time."""
        uuid = self._dialect.uuid
        category, bucket = category_of(append.stream), bucket_of(append.stream)
        return [
            (
                append.stream,
                number,
                category,
                bucket,
                event.type,
                event.schema_version,
                uuid(event.id),
                event.data,
                uuid(event.correlation_id),
                uuid(event.causation_id),
                event.hlc,
                event.trace_parent,
                event.subject_key,
                encode_headers(event.headers),
                now,
            )
            for number, event in enumerate(append.events, version + 1)
        ]

    async def read_stream(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 1000,
        backwards: bool = False,
        db_tx: DatabaseTransaction | None = None,
    ) -> Sequence[RecordedEvent]:
        """Read events of a stream, by the index of streams."""
        parameters = (stream, after, _VERSION_MAX if before is None else before, checked_limit(limit))
        return self._recorded(await self._query(db_tx, self._backwards if backwards else self._forwards, parameters))

    async def read_bodies(
        self, stream: str, *, after: int = 0, limit: int = 1000, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Body]:
        """Read the bodies of a stream's events; the rows need no conversion."""
        return cast("Sequence[Body]", await self._query(db_tx, _BODIES, (stream, after, checked_limit(limit))))

    async def version(self, stream: str, *, db_tx: DatabaseTransaction | None = None) -> int:
        """The stream's version: its last entry in the index."""
        return int((await self._query(db_tx, VERSION, (stream,)))[0][0])

    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        """Read along the index of the filter, up to the last position that was committed when the call began."""
        checked_limit(limit)
        async with self._database.direct() as sql:
            settled = await self._settled(sql)
            if settled <= after:
                return Page((), after)
            ceiling = await self._ceiling(sql, after, settled, limit, event_filter)
            rows = await self._rows_to(sql, after, ceiling, limit, event_filter)
            if len(rows) < limit:
                if not rows and ceiling < settled and _by_time(event_filter):
                    ceiling = await self._leap(sql, ceiling, settled, event_filter)
                through = max(after, await _last(sql, ceiling))
            else:
                through = rows[-1][0]
        return Page(tuple(self._recorded(rows)), through)

    async def high_water_mark(self) -> int:
        """The last position that is settled."""
        async with self._database.direct() as sql:
            return await self._settled(sql)

    async def count(
        self, after: int, through: int, event_filter: EventFilter = EVERYTHING, *, limit: int = 100_000
    ) -> int:
        """The number of matching events, along the index of the filter."""
        async with self._database.direct() as sql:
            return len(await self._select(sql, "position", after, through, limit, event_filter))

    async def recorded_at(self, after: int, event_filter: EventFilter = EVERYTHING) -> datetime | None:
        """The time of the first matching event behind a position, along the index of the filter."""
        async with self._database.direct() as sql:
            rows = await self._select(sql, "position, recorded_at", after, _VERSION_MAX, 1, event_filter)
        return self._dialect.read_time(rows[0][1]) if rows else None

    async def _ceiling(
        self, sql: SqlConnection, after: int, settled: int, limit: int, event_filter: EventFilter
    ) -> int:
        """The last position that a call covers; less than `settled` where rows must be checked one by one."""
        along = _by_index(event_filter)
        if along == event_filter:
            return settled
        first = await self._select(sql, "position", after, settled, 1, along)
        window = max(_WINDOW_MIN, 2 * limit * event_filter.partitions)
        return min(settled, first[0][0] - 1 + window) if first else settled

    async def _rows_to(
        self, sql: SqlConnection, after: int, ceiling: int, limit: int, event_filter: EventFilter
    ) -> Sequence[Row]:
        """The matching rows in order of position.

        For several types the next few positions are first checked row by row: where most events match, that fills the
        page. The indexes would give a whole page of each type, which must be sorted.
        """
        near, rows = after, list[Row]()
        if _several(event_filter):
            near = min(ceiling, after + 2 * limit * event_filter.partitions)
            rows += await sql.fetch(*self._selection(self.columns, after, near, limit, event_filter, walk=True))
        if len(rows) < limit and (near < ceiling or near == after):
            rows += await self._select(sql, self.columns, near, ceiling, limit - len(rows), event_filter)
        return rows

    async def _leap(self, sql: SqlConnection, after: int, settled: int, event_filter: EventFilter) -> int:
        """The position before the next event of the filter's time span."""
        position = f"{self.unindexed}position"
        conditions, parameters = f"{position} > $1 AND {position} <= $2", list[object]([after, settled])
        for comparison, time in ((">=", event_filter.recorded_from), ("<", event_filter.recorded_to)):
            if time is not None:
                parameters.append(self._dialect.time(time))
                conditions += f" AND recorded_at {comparison} ${len(parameters)}"
        along = self.along.format("freehold_event_time")
        rows = await sql.fetch(f"SELECT min({position}) FROM freehold_event {along} WHERE {conditions}", parameters)
        return settled if rows[0][0] is None else int(rows[0][0]) - 1

    async def _select(
        self, sql: SqlConnection, columns: str, after: int, through: int, limit: int, event_filter: EventFilter
    ) -> Sequence[Row]:
        return await sql.fetch(*self._selection(columns, after, through, limit, event_filter))

    def _selection(
        self,
        columns: str,
        after: int,
        through: int,
        limit: int,
        event_filter: EventFilter,
        *,
        walk: bool = False,
    ) -> tuple[str, list[object]]:
        """The statement and its parameters. `walk`: check row after row, without the index of the filter."""
        indexed = EventFilter() if walk else _by_index(event_filter)
        parameters: list[object] = [after, through, limit]
        rest = replace(
            event_filter,
            types=_NONE if indexed.types else event_filter.types,
            categories=_NONE if indexed.categories else event_filter.categories,
        )
        conditions = f"position > $1 AND position <= $2{self._row_by_row(rest, parameters)} ORDER BY position LIMIT $3"
        column, values = ("type", indexed.types) if indexed.types else ("category", indexed.categories)
        if not values:
            return f"SELECT {columns} FROM freehold_event {self.walk} WHERE {conditions}", parameters
        terms = []
        for value in sorted(values):
            parameters.append(value)
            terms.append(
                f"SELECT {columns} FROM freehold_event {self.along.format(f'freehold_event_{column}')}"
                f" WHERE {column} = ${len(parameters)} AND {conditions}"
            )
        if len(terms) == 1:
            return terms[0], parameters
        terms = [f"SELECT * FROM ({term}) AS t" for term in terms]
        return f"{' UNION ALL '.join(terms)} ORDER BY position LIMIT $3", parameters

    def _row_by_row(self, event_filter: EventFilter, parameters: list[object]) -> str:
        conditions = ""
        for column, values in (("type", event_filter.types), ("category", event_filter.categories)):
            if values:
                parameters.append(self._dialect.list_value(values))
                conditions += f" AND {self.unindexed}{column} {self._dialect.in_sql(len(parameters), 'text')}"
        if event_filter.partitions > 1:
            parameters += (event_filter.partitions, event_filter.partition)
            conditions += f" AND bucket % ${len(parameters) - 1} = ${len(parameters)}"
        for comparison, time in ((">=", event_filter.recorded_from), ("<", event_filter.recorded_to)):
            if time is not None:
                parameters.append(self._dialect.time(time))
                conditions += f" AND {self.unindexed}recorded_at {comparison} ${len(parameters)}"
        return conditions


async def _last(sql: SqlConnection, ceiling: int) -> int:
    """The position of the last event at or below `ceiling`; 0 where there is none."""
    rows = await sql.fetch(
        "SELECT coalesce(max(position), 0) FROM freehold_event WHERE position <= $1",
        (ceiling,),
    )
    return int(rows[0][0])


def _by_index(event_filter: EventFilter) -> EventFilter:
    """The part of a filter that an index serves; equal to the filter where that is the whole filter."""
    if 0 < len(event_filter.types) <= _TERMS_MAX:
        return EventFilter(types=event_filter.types)
    if 0 < len(event_filter.categories) <= _TERMS_MAX:
        return EventFilter(categories=event_filter.categories)
    return EventFilter()


def _several(event_filter: EventFilter) -> bool:
    """Whether an index would be read once for each of several types or categories, and the rows sorted."""
    indexed = _by_index(event_filter)
    return len(indexed.types) + len(indexed.categories) > 1


def _by_time(event_filter: EventFilter) -> bool:
    """Whether the filter has a time span."""
    return event_filter.recorded_from is not None or event_filter.recorded_to is not None
