"""Sagas and their journal on an SQL database. Base of the SQL engines: imports its siblings and the saga port.

The engines write a row and its journal entries in different ways (see each one's `saga`); the rest is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.upsert import insert_one
from freehold.adapters.sql.store import SqlStore, newest, storable
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, NotFound
from freehold.saga.store import (
    JOURNAL_DETAIL_CHARACTERS_MAX,
    JournalEntry,
    SagaBacklog,
    SagaFilter,
    SagaRecord,
    SagaStatus,
    SagaStore,
)

__all__ = ["ENTRY_COLUMNS", "SqlSagaStore", "conflict"]

ENTRY_COLUMNS: Final = "place integer, at timestamptz, step text, what text, attempt integer, detail text"
"""The columns of journal entries, as a relation of the dialect."""
_ENDED: Final = "'completed', 'compensated', 'terminated'"
"""The terminal statuses, written as in the partial index of ended instances: SQLite uses it only for the same text."""
_FAILURE_CHARACTERS_MAX: Final = 2000
_BACKLOG: Final = """\
SELECT definition, status, count(*), min(created_at) FROM freehold_saga
WHERE status IN ('running', 'compensating', 'needs-attention') GROUP BY definition, status"""


class SqlSagaStore(SqlStore, SagaStore):
    """Stores instances by id, guarded by their version."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._create = insert_one(
            dialect,
            f"""\
INSERT INTO freehold_saga (created_at, updated_at, due_at, status, document, failure, id,
                           definition, definition_version, key, correlation_id, version)
VALUES ({now}, {now}, {dialect.later_sql(now, 2)}, $3, $4, $5, $6, $7, $8, $9, $10, 1)""",
        )
        self._save = f"""\
UPDATE freehold_saga SET updated_at = {now}, due_at = {dialect.later_sql(now, 2)}, status = $3, document = $4,
                         failure = $5, version = version + 1
WHERE id = $6 AND version = $7"""
        self._select = self._select_from("freehold_saga")
        self._due = f"{self._select} WHERE due_at <= {now} ORDER BY due_at, id LIMIT $2 {dialect.lock_free_rows}"
        self._next_due = f"SELECT {dialect.seconds_sql('min(due_at)', now)} FROM freehold_saga WHERE due_at IS NOT NULL"
        self._old = f"""\
SELECT id FROM freehold_saga WHERE status IN ({_ENDED}) AND updated_at < {dialect.later_sql(now, 2)}
ORDER BY updated_at LIMIT $3 {dialect.lock_free_rows}"""

    def _select_from(self, source: str) -> str:
        """A SELECT of the columns that `_record` reads, from the table or a relation like it; `$1` is the time."""
        return f"""\
SELECT id, definition, definition_version, key, correlation_id, status, version, document, failure,
       {self._dialect.seconds_sql("due_at", self._dialect.now_sql(1))}, created_at, updated_at
FROM {source}"""

    @abstractmethod
    async def _write(
        self, sql: SqlConnection, statement: str, parameters: Sequence[object], saga_id: object, entries: str
    ) -> bool:
        """Run `statement`; if it wrote its row, append `entries` (a relation) to the journal. Returns if it did."""

    async def create(self, db_tx: DatabaseTransaction, record: SagaRecord, entries: Sequence[JournalEntry]) -> bool:
        """Insert a new instance; False where it exists. Waits for a concurrent creation of the same one."""
        identity = (record.definition, record.definition_version, record.key, self._dialect.uuid(record.correlation_id))
        return await self._write(
            sql_of(db_tx),
            self._create,
            (*self._state(record), *identity),
            self._dialect.uuid(record.id),
            self._relation(entries),
        )

    async def load(self, db_tx: DatabaseTransaction, saga_id: UUID) -> SagaRecord:
        """An instance, locked until the transaction ends. Raises `NotFound`."""
        statement = f"{self._select} WHERE id = $2 {self._dialect.lock_rows}"
        rows = await sql_of(db_tx).fetch(statement, (self._dialect.now(), self._dialect.uuid(saga_id)))
        if not rows:
            raise NotFound(f"there is no saga {saga_id}", hint="it may have been pruned after its end")
        return self._record(rows[0])

    async def save(self, db_tx: DatabaseTransaction, record: SagaRecord, entries: Sequence[JournalEntry]) -> None:
        """Store the next state. Raises `ConcurrencyConflict` where the version differs."""
        parameters = (*self._state(record), record.version)
        saga_id = self._dialect.uuid(record.id)
        if not await self._write(sql_of(db_tx), self._save, parameters, saga_id, self._relation(entries)):
            raise conflict(record)

    async def load_many(self, db_tx: DatabaseTransaction, saga_ids: Collection[UUID]) -> Mapping[UUID, SagaRecord]:
        """The existing instances, locked in the order of their ids."""
        dialect = self._dialect
        statement = f"{self._select} WHERE id {dialect.in_sql(2, 'uuid')} ORDER BY id {dialect.lock_rows}"
        rows = await sql_of(db_tx).fetch(statement, (dialect.now(), dialect.list_value(saga_ids)))
        records = map(self._record, rows)
        return {record.id: record for record in records}

    async def save_many(
        self, db_tx: DatabaseTransaction, changes: Sequence[tuple[SagaRecord, Sequence[JournalEntry]]]
    ) -> None:
        """Save one after the other. PostgreSQL, where each is a round trip, overrides this."""
        for record, entries in changes:
            await self.save(db_tx, record, entries)

    async def claim_due(self, db_tx: DatabaseTransaction, limit: int) -> Sequence[SagaRecord]:
        """Due instances that no other transaction has locked."""
        return [self._record(row) for row in await sql_of(db_tx).fetch(self._due, (self._dialect.now(), limit))]

    async def next_due_seconds(self) -> float | None:
        """Seconds until the first instance is due; None where none waits."""
        async with self._database.direct() as sql:
            ((seconds,),) = await sql.fetch(self._next_due, (self._dialect.now(),))
        return None if seconds is None else float(seconds)

    async def find(self, wanted: SagaFilter) -> Sequence[SagaRecord]:
        """Instances, newest first."""
        columns = {
            "definition": wanted.definition,
            "key": wanted.key,
            "id": self._dialect.uuid(wanted.id),
            "correlation_id": self._dialect.uuid(wanted.correlation_id),
        }
        few = {wanted.key, wanted.id, wanted.correlation_id} != {None}
        given = {column: value for column, value in columns.items() if value is not None}
        conditions = [f"{column} = ${number}" for number, column in enumerate(given, start=3)]
        statuses = [each.value for each in SagaStatus if wanted.status in {each, None}]
        if few:
            # A key or cause has few instances: `status || ''` keeps the planner from the index on the status.
            conditions += [f"status || '' = '{wanted.status.value}'"] if wanted.status is not None else []
            statuses = []
        elif not given and wanted.status is None:
            statuses = []
        statement = newest(self._select, "created_at DESC, id DESC", "$2", conditions, statuses)
        if few:
            # Select all of them, then sort: by the index on the time the engine would read all instances for these few.
            found = f"{self._select} WHERE {' AND '.join(conditions)}"
            statement = (
                f"SELECT * FROM (WITH found {self._dialect.materialized} ({found}) SELECT * FROM found) AS s"
                " ORDER BY created_at DESC, id DESC LIMIT $2"
            )
        async with self._database.direct() as sql:
            rows = await sql.fetch(statement, (self._dialect.now(), wanted.limit, *given.values()))
        return [self._record(row) for row in rows]

    async def journal(self, saga_id: UUID) -> Sequence[JournalEntry]:
        """The journal of an instance, in order."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "SELECT at, step, what, attempt, detail FROM freehold_saga_journal WHERE saga_id = $1 ORDER BY ordinal",
                (self._dialect.uuid(saga_id),),
            )
        return [JournalEntry(self._dialect.read_time(at), *rest) for at, *rest in rows]

    async def count(self) -> dict[tuple[str, SagaStatus], int]:
        """The number of instances by definition and status."""
        async with self._database.direct() as sql:
            rows = await sql.fetch("SELECT definition, status, count(*) FROM freehold_saga GROUP BY definition, status")
        return {(definition, SagaStatus(status)): number for definition, status, number in rows}

    async def backlog(self) -> Mapping[tuple[str, SagaStatus], SagaBacklog]:
        """The instances that have not ended, by definition and status."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(_BACKLOG)
        read_time = self._dialect.read_time
        return {
            (name, SagaStatus(status)): SagaBacklog(int(number), read_time(at)) for name, status, number, at in rows
        }

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete instances that ended so many seconds ago, with their journals, in one transaction."""
        ids = self._dialect.in_sql(1, "uuid")
        async with self._database.begin() as db_tx:
            rows = await db_tx.sql.fetch(self._old, (self._dialect.now(), -older_than_seconds, limit))
            old = self._dialect.list_value([self._dialect.read_uuid(saga_id) for (saga_id,) in rows])
            await db_tx.sql.execute(f"DELETE FROM freehold_saga_journal WHERE saga_id {ids}", (old,))
            return await db_tx.sql.execute(f"DELETE FROM freehold_saga WHERE id {ids}", (old,))

    def _state(self, record: SagaRecord) -> tuple[object, ...]:
        state = (record.due_seconds, record.status.value, record.document, self._failure(record))
        return (self._dialect.now(), *state, self._dialect.uuid(record.id))

    def _failure(self, record: SagaRecord) -> str | None:
        return None if record.failure is None else storable(record.failure, _FAILURE_CHARACTERS_MAX)

    def _relation(self, entries: Sequence[JournalEntry]) -> str:
        return self._dialect.relation_value([self._entry(place, entry) for place, entry in enumerate(entries)])

    def _entry(self, place: int, entry: JournalEntry) -> Mapping[str, str | int | None]:
        at = self._dialect.time(entry.at)
        return {
            "place": place,
            "at": at if isinstance(at, int) else entry.at.isoformat(),
            "step": entry.step,
            "what": entry.what,
            "attempt": entry.attempt,
            "detail": storable(entry.detail, JOURNAL_DETAIL_CHARACTERS_MAX),
        }

    def _record(self, row: Row) -> SagaRecord:
        dialect = self._dialect
        return SagaRecord(
            id=dialect.read_uuid(row[0]),
            definition=row[1],
            definition_version=row[2],
            key=row[3],
            correlation_id=dialect.read_uuid(row[4]),
            status=SagaStatus(row[5]),
            version=row[6],
            document=bytes(row[7]),
            failure=row[8],
            due_seconds=None if row[9] is None else max(0.0, float(row[9])),
            created_at=dialect.read_time(row[10]),
            updated_at=dialect.read_time(row[11]),
        )


def conflict(record: SagaRecord) -> ConcurrencyConflict:
    """The error for an instance that another process saved first."""
    return ConcurrencyConflict(
        f"saga {record.id} is no longer at version {record.version}", hint="load it again and decide again"
    )
