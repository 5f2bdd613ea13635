"""Dead letters on an SQL database. Base of the SQL engines: imports its siblings and the dead-letter port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from freehold.adapters.sql.engine.connection import Row, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.prune import prune_unlocked
from freehold.adapters.sql.store import SqlStore, newest, storable
from freehold.database import DatabaseTransaction
from freehold.deadletters.store import (
    DeadLetter,
    DeadLetterBacklog,
    DeadLetterFilter,
    DeadLetterStatus,
    DeadLetterStore,
    Direction,
)
from freehold.errors import ConcurrencyConflict, NotFound

__all__ = ["SqlDeadLetterStore"]

_DETAIL_CHARACTERS_MAX: Final = 4000
_NAME_CHARACTERS_MAX: Final = 200
_COLUMNS: Final = (
    "id, direction, consumer, topic, key, message_id, type, reason, error_type, detail, attempts, failed_at, status,"
    " document, edited, replayed_as"
)
_ADD: Final = f"""\
INSERT INTO freehold_dead_letter ({_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"""


_BACKLOG: Final = """\
SELECT reason, count(*), min(failed_at) FROM freehold_dead_letter WHERE status = 'dead' GROUP BY reason"""


class SqlDeadLetterStore(SqlStore, DeadLetterStore):
    """Stores dead letters by id."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._get = f"SELECT {_COLUMNS} FROM freehold_dead_letter WHERE id = $1 {dialect.lock_rows}"
        self._mark = f"""\
UPDATE freehold_dead_letter SET status = $2, replayed_as = $3, ended_at = {now} WHERE id = $4 AND status = 'dead'"""
        old = f"""\
SELECT id FROM freehold_dead_letter WHERE ended_at < {dialect.later_sql(now, 2)} ORDER BY ended_at LIMIT $3"""
        self._prune = prune_unlocked(dialect, "freehold_dead_letter", "id", old)

    async def add(self, db_tx: DatabaseTransaction, letter: DeadLetter) -> None:
        """Insert a dead letter."""
        dialect = self._dialect
        place = (letter.direction.value, letter.consumer, letter.topic, letter.key, dialect.uuid(letter.message_id))
        reason, error = (storable(each, _NAME_CHARACTERS_MAX) for each in (letter.reason, letter.error_type))
        failure = (letter.type, reason, error, storable(letter.detail, _DETAIL_CHARACTERS_MAX))
        end = (letter.status.value, letter.document, letter.edited, dialect.uuid(letter.replayed_as))
        parameters = (dialect.uuid(letter.id), *place, *failure, letter.attempts, dialect.time(letter.failed_at), *end)
        await sql_of(db_tx).execute(_ADD, parameters)

    async def find(self, wanted: DeadLetterFilter) -> Sequence[DeadLetter]:
        """Dead letters, newest first."""
        letter_id = self._dialect.uuid(wanted.id)
        columns = {"id": letter_id, "consumer": wanted.consumer, "type": wanted.type, "reason": wanted.reason}
        given = {column: value for column, value in columns.items() if value is not None}
        conditions = [f"{column} = ${number}" for number, column in enumerate(given, start=2)]
        parameters: list[object] = [wanted.limit, *given.values()]
        if wanted.after is not None:
            failed_at, last_id = wanted.after
            conditions.append(f"(failed_at, id) < (${len(parameters) + 1}, ${len(parameters) + 2})")
            parameters += [self._dialect.time(failed_at), self._dialect.uuid(last_id)]
        statuses = [each.value for each in DeadLetterStatus if wanted.status in ({each, None} if given else {each})]
        if wanted.id is not None:
            conditions += [f"status = '{wanted.status.value}'"] if wanted.status is not None else []
            statuses = []
        selected = f"SELECT {_COLUMNS} FROM freehold_dead_letter"
        async with self._database.direct() as sql:
            rows = await sql.fetch(newest(selected, "failed_at DESC, id DESC", "$1", conditions, statuses), parameters)
        return [self._letter(row) for row in rows]

    async def get(self, db_tx: DatabaseTransaction, letter_id: UUID) -> DeadLetter:
        """One dead letter, locked until the transaction ends. Raises `NotFound`."""
        rows = await sql_of(db_tx).fetch(self._get, (self._dialect.uuid(letter_id),))
        if not rows:
            raise NotFound(f"there is no dead letter {letter_id}", hint="freehold dlq list shows the existing ones")
        return self._letter(rows[0])

    async def edit(self, db_tx: DatabaseTransaction, letter_id: UUID, document: bytes) -> None:
        """Store an edited document. Raises `NotFound`, or `ConcurrencyConflict` after a replay or discard."""
        changed = await sql_of(db_tx).execute(
            "UPDATE freehold_dead_letter SET edited = $2 WHERE id = $1 AND status = 'dead'",
            (self._dialect.uuid(letter_id), document),
        )
        if not changed:
            await self._refuse(db_tx, letter_id)

    async def mark(
        self, db_tx: DatabaseTransaction, letter_id: UUID, status: DeadLetterStatus, replayed_as: UUID | None
    ) -> None:
        """Set the final status of a dead letter. Raises `NotFound`, or `ConcurrencyConflict` where it has one."""
        dialect = self._dialect
        parameters = (dialect.now(), status.value, dialect.uuid(replayed_as), dialect.uuid(letter_id))
        if not await sql_of(db_tx).execute(self._mark, parameters):
            await self._refuse(db_tx, letter_id)

    async def count(self) -> dict[str, int]:
        """The number of dead letters by reason."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "SELECT reason, count(*) FROM freehold_dead_letter WHERE status = 'dead' GROUP BY reason"
            )
        return {str(reason): int(number) for reason, number in rows}

    async def backlog(self) -> Mapping[str, DeadLetterBacklog]:
        """The dead letters that have not ended, by reason."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(_BACKLOG)
        return {str(reason): DeadLetterBacklog(int(number), self._dialect.read_time(at)) for reason, number, at in rows}

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete dead letters that were replayed or discarded so many seconds ago; returns their number."""
        async with self._database.direct() as sql:
            return await sql.execute(self._prune, (self._dialect.now(), -older_than_seconds, limit))

    async def _refuse(self, db_tx: DatabaseTransaction, letter_id: UUID) -> None:
        letter = await self.get(db_tx, letter_id)
        raise ConcurrencyConflict(
            f"dead letter {letter_id} was already {letter.status.value}",
            hint="a dead letter can be replayed or discarded only once",
        )

    def _letter(self, row: Row) -> DeadLetter:
        dialect = self._dialect
        return DeadLetter(
            id=dialect.read_uuid(row[0]),
            direction=Direction(row[1]),
            consumer=row[2],
            topic=row[3],
            key=row[4],
            message_id=None if row[5] is None else dialect.read_uuid(row[5]),
            type=row[6],
            reason=row[7],
            error_type=row[8],
            detail=row[9],
            attempts=row[10],
            failed_at=dialect.read_time(row[11]),
            status=DeadLetterStatus(row[12]),
            document=bytes(row[13]),
            edited=None if row[14] is None else bytes(row[14]),
            replayed_as=None if row[15] is None else dialect.read_uuid(row[15]),
        )
