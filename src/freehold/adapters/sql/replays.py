"""Replays on an SQL database. Base of the SQL engines: imports its siblings and the replay port."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from freehold.adapters.sql.engine.connection import Row, SqlConnection, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.prune import prune
from freehold.adapters.sql.families.returning import UpdateReturning, update_returning
from freehold.adapters.sql.store import SqlStore, storable
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict
from freehold.projection.replay_store import (
    NewReplay,
    Replay,
    ReplayError,
    ReplayState,
    ReplayStore,
    replay_conflict,
    unknown_replay,
)

__all__ = ["SqlReplayStore"]

_DETAIL_CHARACTERS_MAX = 2000
_COLUMNS = """\
number, projection, generation, recorded_from, recorded_to, position, end_position, applied, failed, state, actor,
reason, tables, created_at, updated_at, started_position,
isolated_position, isolated_attempts"""


class SqlReplayStore(SqlStore, ReplayStore):
    """Stores a row for each replay, and one for each failed event."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now = dialect.now_sql(1)
        self._insert = f"""
INSERT INTO freehold_replay (projection, generation, recorded_from, recorded_to, position, end_position, applied,
    failed, state, actor, reason, tables, created_at, updated_at)
VALUES ($2, $3, $4, $5, $6, $7, 0, 0, 'running', $8, $9, '[]', {now}, {now}) RETURNING {_COLUMNS}"""
        self._own = self._update(f"SET updated_at = {now}, tables = $2 WHERE number = $3")
        self._advance = self._update(
            f"""\
SET updated_at = {now}, position = $2, applied = applied + $3, failed = failed + $4
WHERE number = $5 AND position = $6 AND applied = $7 AND failed = $8 AND state = 'running'"""
        )
        self._begin = self._update(
            f"""\
SET updated_at = {now}, started_position = position, isolated_position = $2, isolated_attempts = $3
WHERE number = $4 AND position = $5 AND applied = $6 AND failed = $7 AND state = 'running'"""
        )
        self._move_state = self._update(f"SET updated_at = {now}, state = $2 WHERE number = $3 AND state = $4")
        old = f"r.state <> 'running' AND r.tables = '[]' AND r.updated_at < {dialect.later_sql(now, 2)}"
        errors = f"""\
SELECT e.replay, e.position FROM freehold_replay AS r CROSS JOIN freehold_replay_error AS e
WHERE {old} AND e.replay = r.number ORDER BY r.updated_at LIMIT $3"""
        self._prune_errors = prune(dialect, "freehold_replay_error", "(replay, position)", errors)
        without = f"""\
SELECT r.number FROM freehold_replay AS r
WHERE {old} AND NOT EXISTS (SELECT 1 FROM freehold_replay_error AS e WHERE e.replay = r.number)
ORDER BY r.updated_at LIMIT $3"""
        # The condition stands twice, so that a replay that was restarted meanwhile is not deleted.
        self._prune = prune(dialect, "freehold_replay AS r", "r.number", without, where=old)
        self._error = """
INSERT INTO freehold_replay_error (replay, position, stream, version, event_id, type, error, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""

    def _update(self, change: str) -> UpdateReturning:
        return update_returning(self._dialect, "freehold_replay", change, "number", _COLUMNS)

    async def create(self, db_tx: DatabaseTransaction, replay: NewReplay) -> Replay:
        """Insert a replay."""
        rows = await sql_of(db_tx).fetch(
            self._insert,
            (
                self._dialect.now(),
                replay.projection,
                replay.generation,
                self._dialect.time(replay.recorded_from),
                self._dialect.time(replay.recorded_to),
                replay.position,
                replay.end,
                replay.actor,
                replay.reason,
            ),
        )
        return self._replay(rows[0])

    async def set_tables(self, db_tx: DatabaseTransaction, number: int, tables: Sequence[str]) -> Replay:
        """Record the names of the replay's own tables. Raises `NotFound`."""
        names = msgspec.json.encode(list(tables)).decode()
        rows = await self._own.fetch(sql_of(db_tx), (self._dialect.now(), names, number), number)
        return self._one(rows, number)

    async def advance(
        self,
        db_tx: DatabaseTransaction,
        expected: Replay,
        position: int,
        *,
        applied: int,
        failed: Sequence[ReplayError] = (),
    ) -> Replay:
        """Advance by compare-and-set, then insert the errors. Raises `ConcurrencyConflict`."""
        sql = sql_of(db_tx)
        counts = (position, applied, len(failed))
        compared = (expected.number, expected.position, expected.applied, expected.failed)
        rows = await self._advance.fetch(sql, (self._dialect.now(), *counts, *compared), expected.number)
        if not rows:
            raise replay_conflict(expected)
        if failed:
            await sql.execute_many(self._error, [self._error_row(expected.number, each) for each in failed])
        return self._replay(rows[0])

    async def begin(
        self, db_tx: DatabaseTransaction, expected: Replay, *, isolated_position: int = 0, isolated_attempts: int = 0
    ) -> Replay:
        """Write the crash marker into the row, by compare-and-set. Raises `ConcurrencyConflict`."""
        compared = (expected.number, expected.position, expected.applied, expected.failed)
        given = (self._dialect.now(), isolated_position, isolated_attempts, *compared)
        rows = await self._begin.fetch(sql_of(db_tx), given, expected.number)
        if not rows:
            raise replay_conflict(expected)
        return self._replay(rows[0])

    async def end(self, db_tx: DatabaseTransaction, number: int, state: ReplayState) -> Replay:
        """End a running replay in this state. Raises `NotFound`, `ConcurrencyConflict`."""
        return await self._to_state(sql_of(db_tx), number, ReplayState.RUNNING, state)

    async def restart(self, db_tx: DatabaseTransaction, number: int) -> Replay:
        """Set a cancelled replay to running again. Raises `NotFound`, `ConcurrencyConflict`."""
        sql = sql_of(db_tx)
        found = self._one(
            await sql.fetch(f"SELECT {_COLUMNS} FROM freehold_replay WHERE number = $1", (number,)), number
        )
        if found.state is ReplayState.RUNNING:
            return found
        return await self._to_state(sql, number, ReplayState.CANCELLED, ReplayState.RUNNING)

    async def get(self, number: int) -> Replay:
        """One replay. Raises `NotFound`."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(f"SELECT {_COLUMNS} FROM freehold_replay WHERE number = $1", (number,))
        return self._one(rows, number)

    async def find(self, projection: str | None = None, *, limit: int = 100) -> Sequence[Replay]:
        """Replays, newest first."""
        where, parameters = ("", (limit,)) if projection is None else ("WHERE projection = $2", (limit, projection))
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                f"SELECT {_COLUMNS} FROM freehold_replay {where} ORDER BY number DESC LIMIT $1", parameters
            )
        return [self._replay(row) for row in rows]

    async def errors(self, number: int, *, after: int = 0, limit: int = 100) -> Sequence[ReplayError]:
        """Failed events in order of position."""
        async with self._database.direct() as sql:
            rows = await sql.fetch(
                "SELECT position, stream, version, event_id, type, error, detail FROM freehold_replay_error"
                " WHERE replay = $1 AND position > $2 ORDER BY position LIMIT $3",
                (number, after, limit),
            )
        return [
            ReplayError(position, stream, version, self._dialect.read_uuid(event_id), *texts)
            for position, stream, version, event_id, *texts in rows
        ]

    async def delete(self, db_tx: DatabaseTransaction, number: int) -> Replay | None:
        """Delete a replay and its errors. Raises `ConcurrencyConflict` while it is running."""
        sql = sql_of(db_tx)
        rows = await sql.fetch(f"DELETE FROM freehold_replay WHERE number = $1 RETURNING {_COLUMNS}", (number,))
        if not rows:
            return None
        replay = self._replay(rows[0])
        if replay.state is ReplayState.RUNNING:
            raise ConcurrencyConflict(f"replay {number} is running", hint="cancel it first")
        await sql.execute("DELETE FROM freehold_replay_error WHERE replay = $1", (number,))
        return replay

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old errors first, then replays without errors; returns the number of rows."""
        async with self._database.direct() as sql:
            given = (self._dialect.now(), -older_than_seconds)
            deleted = await sql.execute(self._prune_errors, (*given, limit))
            if deleted < limit:
                deleted += await sql.execute(self._prune, (*given, limit - deleted))
        return deleted

    async def _to_state(self, sql: SqlConnection, number: int, expected: ReplayState, to: ReplayState) -> Replay:
        rows = await self._move_state.fetch(sql, (self._dialect.now(), to.value, number, expected.value), number)
        if rows:
            return self._replay(rows[0])
        found = await sql.fetch("SELECT state FROM freehold_replay WHERE number = $1", (number,))
        if not found:
            raise unknown_replay(number)
        raise ConcurrencyConflict(f"replay {number} is {found[0][0]}, not {expected.value}")

    def _error_row(self, number: int, failed: ReplayError) -> tuple[object, ...]:
        return (
            number,
            failed.position,
            failed.stream,
            failed.version,
            self._dialect.uuid(failed.event_id),
            failed.type,
            storable(failed.error, _DETAIL_CHARACTERS_MAX),
            storable(failed.detail, _DETAIL_CHARACTERS_MAX),
        )

    def _one(self, rows: Sequence[Row], number: int) -> Replay:
        if not rows:
            raise unknown_replay(number)
        return self._replay(rows[0])

    def _replay(self, row: Row) -> Replay:
        number, projection, generation, begins, ends, position, end, applied, failed, state, *rest = row
        actor, reason, tables, created_at, updated_at, started_position, isolated_position, isolated_attempts = rest
        return Replay(
            number=number,
            projection=projection,
            generation=generation,
            recorded_from=None if begins is None else self._dialect.read_time(begins),
            recorded_to=None if ends is None else self._dialect.read_time(ends),
            position=position,
            end=end,
            applied=applied,
            failed=failed,
            state=ReplayState(state),
            actor=actor,
            reason=reason,
            tables=tuple(msgspec.json.decode(tables)),
            created_at=self._dialect.read_time(created_at),
            updated_at=self._dialect.read_time(updated_at),
            started_position=started_position,
            isolated_position=isolated_position,
            isolated_attempts=isolated_attempts,
        )
