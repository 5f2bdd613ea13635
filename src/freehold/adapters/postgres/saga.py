"""Sagas on PostgreSQL. Adapter: imports the base of the SQL adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.postgres.commit_call import add_call
from freehold.adapters.sql.engine.connection import SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.saga import ENTRY_COLUMNS, SqlSagaStore, conflict
from freehold.database import DatabaseTransaction
from freehold.saga.store import JournalEntry, SagaRecord

__all__ = ["PostgresSagaStore"]

_TYPES: Final = ("uuid[]", "bigint[]", "text[]::float8[]", "text[]", "bytea[]", "text[]", "jsonb", "timestamptz")
_WITH_COMMIT_MAX: Final = 64
_WITH_COMMIT_BYTES_MAX: Final = 32_768
"""More bytes cost more as digits in a text than a round trip saves."""


class PostgresSagaStore(SqlSagaStore):
    """Writes rows and appends their journal entries in one statement."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._due = f"{self._select_from(f'freehold_saga_claim({now}, $2::integer)')} ORDER BY due_at, id"
        self._save_many = f"""\
WITH given AS (
    SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::float8[], $5::text[], $6::bytea[], $7::text[])
        AS given (id, version, due_seconds, status, document, failure)
), written AS (
    UPDATE freehold_saga AS s
    SET updated_at = {now}, due_at = {now} + given.due_seconds * interval '1 second', status = given.status,
        document = given.document, failure = given.failure, version = s.version + 1
    FROM given WHERE s.id = given.id AND s.version = given.version
    RETURNING s.id
), journalled AS (
    INSERT INTO freehold_saga_journal (saga_id, at, step, what, attempt, detail)
    SELECT e.saga_id, e.at, e.step, e.what, e.attempt, e.detail
    FROM {dialect.relation_sql(8, f"saga_id uuid, {ENTRY_COLUMNS}")} AS e
    WHERE e.saga_id IN (SELECT id FROM written) ORDER BY e.place
)
SELECT id FROM written"""
        self._next_due = f"SELECT {dialect.seconds_sql('freehold_saga_next_due()', now)}"

    async def save_last(
        self, db_tx: DatabaseTransaction, changes: Sequence[tuple[SagaRecord, Sequence[JournalEntry]]]
    ) -> None:
        """Save with the COMMIT where Freehold sends it, as `staging` says; else at once."""
        size = sum(len(record.document) for record, _ in changes)
        if len(changes) <= _WITH_COMMIT_MAX and size <= _WITH_COMMIT_BYTES_MAX:
            records = [record for record, _ in changes]
            given = (
                [record.id for record in records],
                [record.version for record in records],
                [None if record.due_seconds is None else repr(record.due_seconds) for record in records],
                [record.status.value for record in records],
                [record.document for record in records],
                [self._failure(record) for record in records],
                self._dialect.relation_value(self._entries_of(changes)),
                self._dialect.now(),
            )
            texts = [given[6], *(failure for failure in given[5] if failure is not None)]
            if add_call(db_tx, self._dialect, "freehold_saga_save", given, _TYPES, texts=texts):
                return
        await super().save_last(db_tx, changes)

    async def save_many(
        self, db_tx: DatabaseTransaction, changes: Sequence[tuple[SagaRecord, Sequence[JournalEntry]]]
    ) -> None:
        """Save all rows and journal entries in one round trip. Raises `ConcurrencyConflict` where a version differs."""
        records = [record for record, _ in changes]
        columns = (
            [record.id for record in records],
            [record.version for record in records],
            [record.due_seconds for record in records],
            [record.status.value for record in records],
            [record.document for record in records],
            [self._failure(record) for record in records],
        )
        written = await sql_of(db_tx).fetch(
            self._save_many, (self._dialect.now(), *columns, self._dialect.relation_value(self._entries_of(changes)))
        )
        if len(written) < len(records):
            saved = {row[0] for row in written}
            raise conflict(next(record for record in records if record.id not in saved))

    def _entries_of(
        self, changes: Sequence[tuple[SagaRecord, Sequence[JournalEntry]]]
    ) -> list[Mapping[str, str | int | None]]:
        entries: list[Mapping[str, str | int | None]] = []
        for record, journal in changes:
            entries += [
                {"saga_id": str(record.id), **self._entry(place, entry)}
                for place, entry in enumerate(journal, start=len(entries))
            ]
        return entries

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
