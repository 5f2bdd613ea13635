"""The event store on MariaDB: appended under locks of the streams, tailed up to the lowest marker. Imports the SQL
base.

Positions are drawn in one order and committed in another. So each append first leaves a marker, a row with the highest
position that was committed by then, and draws after it; it is committed with the events. Readers go no further than the
lowest marker whose transaction is open: one that is seen READ UNCOMMITTED, and then not among the committed ones. The
module `outbox` says why that is enough. Committed markers are swept by readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from freehold.adapters.mariadb.dialect import LOCKS, STREAMS
from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.events import columns
from freehold.adapters.sql.indexed_events import SqlIndexedEventStore
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, DatabaseError
from freehold.eventstore.append import check_appends, conflict, is_met
from freehold.eventstore.store import Append, AppendResult

__all__ = ["MariaDbEventStore"]

_LOCK_SPACE: Final = "freehold.stream/"
_MARKERS_KEPT_MAX: Final = 200
_LAST: Final = "(SELECT coalesce(max(e.position), 0) FROM freehold_event AS e)"
_BEGIN: Final = f"""\
BEGIN NOT ATOMIC
DECLARE locked BIGINT; DECLARE low BIGINT;
SELECT count(*) INTO locked FROM freehold_lock WHERE number IN $1 FOR UPDATE;
SELECT {_LAST} INTO low;
INSERT INTO freehold_event_marker (floor) VALUES (low);
SELECT stream, max(version) FROM freehold_event WHERE stream IN $2 GROUP BY stream;
END"""
_SETTLED: Final = f"""\
BEGIN NOT ATOMIC
DECLARE high BIGINT; DECLARE low BIGINT; DECLARE markers LONGTEXT;
SELECT {_LAST} INTO high;
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;
SELECT JSON_ARRAYAGG(JSON_OBJECT('id', m.id, 'floor', m.floor)) INTO markers FROM freehold_event_marker AS m;
SELECT min(g.floor) INTO low
FROM JSON_TABLE(markers, '$[*]' COLUMNS (id BIGINT PATH '$.id', floor BIGINT PATH '$.floor')) AS g
WHERE g.id NOT IN (SELECT m.id FROM freehold_event_marker AS m);
SELECT least(high, coalesce(low, high)), coalesce(JSON_LENGTH(markers), 0);
END"""
_SWEEP: Final = """\
DELETE m FROM (
    SELECT id FROM freehold_event_marker ORDER BY id LIMIT 5000 FOR UPDATE SKIP LOCKED
) AS committed STRAIGHT_JOIN freehold_event_marker AS m USING (id)"""
_COLUMNS: Final = (
    "stream, version, category, bucket, type, schema_version, id, data, correlation_id, causation_id, hlc,"
    " trace_parent, subject_key, headers, recorded_at"
)


class MariaDbEventStore(SqlIndexedEventStore):
    """Events by position; nothing above an open marker is read."""

    columns: ClassVar[str] = columns("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', recorded_at) / 1000000e0")
    along: ClassVar[str] = "FORCE INDEX ({})"
    walk: ClassVar[str] = "FORCE INDEX (PRIMARY)"

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._now = dialect.now_sql(1)

    async def append(self, db_tx: DatabaseTransaction, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """Lock the streams, mark and look in one round trip; insert in another."""
        if not appends:
            return ()
        check_appends(appends)
        sql = sql_of(db_tx)
        names = tuple(each.stream for each in appends)
        numbers = {STREAMS + self._dialect.lock_number(_LOCK_SPACE + name) % LOCKS for name in names}
        found = {row[0]: int(row[1]) for row in await sql.fetch(_BEGIN, (tuple(sorted(numbers)), names))}
        versions = [found.get(name, 0) for name in names]
        for each, version in zip(appends, versions, strict=True):
            if not is_met(each, version):
                raise conflict(each, version)
        drawn = iter(await self._insert(sql, appends, versions))
        return [
            AppendResult(each.stream, version + len(each.events), tuple(next(drawn) for _ in each.events))
            for each, version in zip(appends, versions, strict=True)
        ]

    async def append_now(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """The same in a transaction of its own."""
        async with self._database.begin() as db_tx:
            return await self.append(db_tx, appends)

    async def _insert(self, sql: SqlConnection, appends: Sequence[Append], versions: Sequence[int]) -> list[int]:
        """Returns the positions, in order. A version that is there was committed after the snapshot of the transaction,
        which a user's own at REPEATABLE READ has.
        """
        parameters: list[object] = [self._dialect.now()]
        values = []
        for each, version in zip(appends, versions, strict=True):
            for row in self._rows(each, version, None):
                begin = len(parameters) + 1
                parameters += row[:-1]
                places = ", ".join(f"${number}" for number in range(begin, len(parameters) + 1))
                values.append(f"({places}, {self._now})")
        statement = f"INSERT INTO freehold_event ({_COLUMNS}) VALUES\n{', '.join(values)} RETURNING position"
        try:
            return sorted(row[0] for row in await sql.fetch(statement, parameters))
        except DatabaseError as error:
            if self._dialect.is_duplicate(error):
                raise ConcurrencyConflict(
                    "a stream was written to since the transaction's snapshot", hint="load it again, decide again"
                ) from error
            raise

    async def _settled(self, sql: SqlConnection) -> int:
        ((settled, markers),) = await sql.fetch(_SETTLED)
        if markers > _MARKERS_KEPT_MAX:
            await sql.execute(_SWEEP)
        return int(settled)
