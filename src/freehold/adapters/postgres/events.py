"""The event store on PostgreSQL; functions in the database append and read. Imports the SQL base.

Transactions may commit in another order than the one in which they drew their positions. So a reader must not pass a
position whose transaction is still open:

1. Before an append draws positions it takes a marker: a shared advisory lock whose number is the last position drawn
   before. The marker ends with the transaction.
2. A reader reads no further than the lowest marker. Its high-water mark is below every position that an open
   transaction has drawn.

Only appends take markers, and only readers of the same database see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.events import SqlEventStore, columns, encode_headers
from freehold.adapters.sql.families.key_lock import key_numbers
from freehold.database import DatabaseTransaction
from freehold.errors import ConfigurationError
from freehold.eventstore.append import check_appends, conflict
from freehold.eventstore.store import (
    EVERYTHING,
    Append,
    AppendResult,
    Body,
    EventFilter,
    Expectation,
    ExpectedVersion,
    Page,
    RecordedEvent,
    bucket_of,
    category_of,
    checked_limit,
)

__all__ = ["PostgresEventStore"]

_COLUMNS: Final = columns("date_part('epoch', recorded_at)")
_LOCK_SPACE: Final = "freehold.stream/"
_BODIES: Final = "SELECT version, type, schema_version, data FROM freehold_event_bodies($1, $2::bigint, $3::integer)"
_VERSION_MAX: Final = 2**63 - 1
_ONE_SNAPSHOT, _STANDBY = -1, -2


class PostgresEventStore(SqlEventStore):
    """Stores events by position; reads none above the lowest marker."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._append = f"""
SELECT conflict, versions, positions FROM freehold_event_append($2::bigint[], $3::text[], $4::bigint[],
    {dialect.now_sql(1)}, $5::integer[], $6::bigint[], $7::text[], $8::smallint[], $9::text[], $10::integer[],
    $11::uuid[], $12::bytea[], $13::uuid[], $14::uuid[], $15::bigint[], $16::text[], $17::text[], $18::bytea[])"""
        self._stream = f"SELECT {_COLUMNS} FROM freehold_event_stream($1, $2::bigint, $3::bigint, $4::integer, $5)"
        self._tail = f"""
SELECT {_COLUMNS} FROM freehold_event_tail($1::bigint, $2::integer, $3::text[], $4::text[], $5::integer, $6::integer,
    $7::timestamptz, $8::timestamptz)"""
        self._count = """
SELECT freehold_event_count($1::bigint, $2::bigint, $3::bigint, $4::text[], $5::text[], $6::integer, $7::integer,
    $8::timestamptz, $9::timestamptz)"""
        self._recorded_at = """
SELECT freehold_event_time($1::bigint, $2::text[], $3::text[], $4::integer, $5::integer, $6::timestamptz,
    $7::timestamptz)"""

    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Lock the streams, check their versions, take the marker and insert, in one round trip."""
        return await self._append_to(sql_of(db_tx), appends)

    async def append_now(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Append by a statement that commits by itself."""
        async with self._database.direct() as sql:
            return await self._append_to(sql, appends)

    async def _append_to(self, sql: SqlConnection, appends: Sequence[Append]) -> Sequence[AppendResult]:
        if not appends:
            return ()
        check_appends(appends)
        ((failed, versions, positions),) = await sql.fetch(self._append, self._parameters(appends))
        if failed is not None:
            raise conflict(appends[failed - 1], versions[failed - 1])
        drawn = iter(positions)
        return [
            AppendResult(each.stream, version + len(each.events), tuple(next(drawn) for _ in each.events))
            for each, version in zip(appends, versions, strict=True)
        ]

    def _parameters(self, appends: Sequence[Append]) -> tuple[object, ...]:
        names = [each.stream for each in appends]
        placed = [
            (ordinal, offset, event)
            for ordinal, each in enumerate(appends, 1)
            for offset, event in enumerate(each.events, 1)
        ]
        events = [event for _, _, event in placed]
        return (
            self._dialect.now(),
            key_numbers(self._dialect, _LOCK_SPACE, names),
            names,
            [_expected(each.expected) for each in appends],
            [ordinal for ordinal, _, _ in placed],
            [offset for _, offset, _ in placed],
            [category_of(name) for name in names],
            [bucket_of(name) for name in names],
            [event.type for event in events],
            [event.schema_version for event in events],
            [event.id for event in events],
            [event.data for event in events],
            [event.correlation_id for event in events],
            [event.causation_id for event in events],
            [event.hlc for event in events],
            [event.trace_parent for event in events],
            [event.subject_key for event in events],
            [encode_headers(event.headers) for event in events],
        )

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
        parameters = (stream, after, _VERSION_MAX if before is None else before, checked_limit(limit), backwards)
        return self._recorded(await self._query(db_tx, self._stream, parameters))

    async def read_bodies(
        self, stream: str, *, after: int = 0, limit: int = 1000, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Body]:
        """Read the bodies of a stream's events; the rows need no conversion."""
        return cast("Sequence[Body]", await self._query(db_tx, _BODIES, (stream, after, checked_limit(limit))))

    async def version(self, stream: str, *, db_tx: DatabaseTransaction | None = None) -> int:
        """The stream's version: its last entry in the index."""
        rows = await self._query(db_tx, "SELECT freehold_event_version($1)", (stream,))
        return int(rows[0][0])

    async def read_all(self, after: int, *, limit: int = 1000, event_filter: EventFilter = EVERYTHING) -> Page:
        """Read a page by one call of the tail function."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._tail, (after, checked_limit(limit), *_filter(event_filter)))
        through = after
        if rows and rows[-1][1] is None:
            through = _settled(rows[-1][0])
            rows = rows[:-1]
        elif rows:
            through = rows[-1][0]
        return Page(tuple(self._recorded(rows)), through)

    async def high_water_mark(self) -> int:
        """The position of the last committed event below every marker."""
        async with self._database.direct() as sql:
            return _settled((await sql.fetch("SELECT freehold_event_head()"))[0][0])

    async def count(
        self, after: int, through: int, event_filter: EventFilter = EVERYTHING, *, limit: int = 100_000
    ) -> int:
        """The number of matching events, along the index of the filter."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._count, (after, through, limit, *_filter(event_filter)))
        return int(rows[0][0])

    async def recorded_at(self, after: int, event_filter: EventFilter = EVERYTHING) -> datetime | None:
        """The time of the first matching event behind a position, along the index of the filter."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(self._recorded_at, (after, *_filter(event_filter)))
        found = rows[0][0]
        return None if found is None else self._dialect.read_time(found)


def _expected(version: ExpectedVersion) -> int:
    match version:
        case Expectation.ANY:
            return -1
        case Expectation.STREAM_EXISTS:
            return -2
        case Expectation.NO_STREAM:
            return 0
        case int():
            return version


def _filter(event_filter: EventFilter) -> tuple[object, ...]:
    return (
        sorted(event_filter.types),
        sorted(event_filter.categories),
        event_filter.partition,
        event_filter.partitions,
        event_filter.recorded_from,
        event_filter.recorded_to,
    )


def _settled(position: int) -> int:
    """A position that the functions returned. Raises `ConfigurationError` for a negative one: they cannot read here."""
    if position == _ONE_SNAPSHOT:
        raise ConfigurationError(
            "events cannot be read in order where a transaction has one snapshot for all its statements",
            hint="set default_transaction_isolation of this role and database to 'read committed'",
        )
    if position == _STANDBY:
        raise ConfigurationError(
            "events cannot be read in order from a standby: it does not see the open transactions",
            hint="let the database's URL name the primary",
        )
    return position
