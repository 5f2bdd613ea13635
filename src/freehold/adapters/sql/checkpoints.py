"""Checkpoints and generations of read models on an SQL database. Imports the SQL base and the port; `parked` has the
rows of parked streams.

Statements that change several checkpoints lock them in order first, so that two of them cannot deadlock. A checkpoint
is always locked before its generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from freehold.adapters.sql.engine.connection import Row, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.claim import change_in_order
from freehold.adapters.sql.families.upsert import insert_one, inserted
from freehold.adapters.sql.parked import SqlParkedStreams
from freehold.adapters.sql.store import SqlStore, storable
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict
from freehold.projection.store import (
    ALL_GENERATIONS,
    Checkpoint,
    CheckpointStore,
    Generation,
    GenerationState,
    Move,
    ParkedStream,
    ParkedStreamUpdate,
    Pause,
    checkpoint_conflict,
)

__all__ = ["CHECKPOINT", "MOVE", "SqlCheckpointStore"]

_REASON_CHARACTERS_MAX: Final = 1000
CHECKPOINT: Final = (
    "projection, generation, partition, position, state, revision, handled, failed, updated_at,"
    " started_position, isolated_position, isolated_attempts"
)
_PLACE: Final = "projection = $1 AND generation = $2"
_GENERATION: Final = "projection, generation, version, partitions, state, reason, created_at, changed_at, tables"
_NEW_CHECKPOINT: Final = "projection text, generation integer, partition integer, position bigint, state text"
MOVE: Final = (
    "projection text, generation integer, partition integer, position bigint, state text, revision bigint,"
    " target bigint, handled bigint, failed bigint"
)
_AS_SEEN: Final = (
    f"{_PLACE} AND partition = $3 AND position = $4 AND state = $5 AND revision = $6 AND state <> 'retired'"
)


class SqlCheckpointStore(SqlStore, CheckpointStore):
    """Stores generations, checkpoints, parked streams and pauses, in one table each."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._parked = SqlParkedStreams(database, dialect)
        self._advance = _advance(dialect)
        now, new = dialect.now_sql(1), dialect.relation_sql(2, _NEW_CHECKPOINT)
        self._create = insert_one(
            dialect,
            f"INSERT INTO freehold_projection ({_GENERATION}) VALUES ($2, $3, $4, $5, $6, $7, {now}, {now}, $8)",
        )
        self._create_checkpoints = f"""\
INSERT INTO freehold_checkpoint (projection, generation, partition, position, state, updated_at)
SELECT g.projection, g.generation, g.partition, g.position, g.state, {now} FROM {new} AS g"""
        self._transition = f"""\
UPDATE freehold_projection SET state = $5, changed_at = {now}
WHERE projection = $2 AND generation = $3 AND state = $4
    AND ($5 <> 'live' OR NOT EXISTS (SELECT 1 FROM freehold_projection WHERE projection = $2 AND state = 'live'))"""
        self._pause = insert_one(
            dialect,
            "INSERT INTO freehold_projection_pause (projection, generation, reason, actor, paused_at)"
            f" VALUES ($2, $3, $4, $5, {now})",
        )

    async def generations(
        self, projection: str | None = None, *, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Generation]:
        """Generations, ordered by projection and number."""
        where, parameters = ("", ()) if projection is None else ("WHERE projection = $1", (projection,))
        sql = f"SELECT {_GENERATION} FROM freehold_projection {where} ORDER BY projection, generation"
        return [self._generation(row) for row in await self._query(db_tx, sql, parameters)]

    async def create(
        self,
        db_tx: DatabaseTransaction,
        projection: str,
        number: int,
        *,
        version: int,
        partitions: int,
        state: GenerationState,
        position: int = 0,
        reason: str = "",
        tables: Sequence[str] = (),
    ) -> Generation:
        """Insert a generation and its checkpoints. Raises `ConcurrencyConflict` where the number exists, or another
        generation is live.
        """
        text = storable(reason, _REASON_CHARACTERS_MAX)
        now = self._dialect.now()
        names = msgspec.json.encode(list(tables)).decode()
        values = (now, projection, number, version, partitions, state.value, text, names)
        sql = sql_of(db_tx)
        if not await inserted(sql, self._dialect, self._create, values):
            raise ConcurrencyConflict(
                f"projection '{projection}' already has generation {number}, or another one that is live",
                hint="read its generations again",
            )
        place: dict[str, str | int | None] = {"projection": projection, "generation": number}
        rows = [
            {**place, "partition": partition, "position": position, "state": state.value}
            for partition in range(partitions)
        ]
        await sql.execute(self._create_checkpoints, (now, self._dialect.relation_value(rows)))
        made = await sql.fetch(f"SELECT {_GENERATION} FROM freehold_projection WHERE {_PLACE}", (projection, number))
        return self._generation(made[0])

    async def transition(
        self,
        db_tx: DatabaseTransaction,
        projection: str,
        number: int,
        *,
        expected: GenerationState,
        to: GenerationState,
    ) -> None:
        """Set the state of the generation and of its checkpoints. Raises `ConcurrencyConflict`."""
        await self.lock(db_tx, projection, number)
        sql = sql_of(db_tx)
        lock = f"SELECT 1 FROM freehold_projection WHERE projection = $1 ORDER BY generation {self._dialect.lock_rows}"
        await sql.fetch(lock, (projection,))
        parameters = (self._dialect.now(), projection, number, expected.value, to.value)
        if await sql.execute(self._transition, parameters) != 1:
            raise ConcurrencyConflict(
                f"generation {number} of '{projection}' is not {expected.value}, or cannot become {to.value}",
                hint="read its generations again; only one of them can be live",
            )
        await sql.execute(
            f"UPDATE freehold_checkpoint SET state = $3, revision = revision + 1 WHERE {_PLACE}",
            (projection, number, to.value),
        )

    async def forget(self, db_tx: DatabaseTransaction, projection: str, number: int) -> None:
        """Delete the generation from all tables. Raises `ConcurrencyConflict` for the live one."""
        await self.lock(db_tx, projection, number)
        sql = sql_of(db_tx)
        lock = f"SELECT state FROM freehold_projection WHERE {_PLACE} {self._dialect.lock_rows}"
        for (state,) in await sql.fetch(lock, (projection, number)):
            if state == GenerationState.LIVE.value:
                raise ConcurrencyConflict(
                    f"generation {number} of projection '{projection}' is live", hint="switch to another one first"
                )
        for table in ("parked", "projection_pause", "checkpoint", "projection"):
            await sql.execute(f"DELETE FROM freehold_{table} WHERE {_PLACE}", (projection, number))

    async def checkpoints(
        self, projection: str | None = None, generation: int | None = None, *, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Checkpoint]:
        """Checkpoints, not locked."""
        return await self._select(db_tx, projection, generation, None, "")

    async def lock(
        self, db_tx: DatabaseTransaction, projection: str, generation: int | None = None, partition: int | None = None
    ) -> Sequence[Checkpoint]:
        """Checkpoints, locked in order until the transaction ends."""
        return await self._select(db_tx, projection, generation, partition, self._dialect.lock_rows)

    async def advance(self, db_tx: DatabaseTransaction, moves: Sequence[Move]) -> Sequence[Checkpoint]:
        """Advance checkpoints by compare-and-set, in one statement. Raises `ConcurrencyConflict` where one differs."""
        if not moves:
            return []
        given = self._dialect.relation_value([_relation_row(move) for move in sorted(moves, key=_place)])
        rows = await sql_of(db_tx).fetch(self._advance, (self._dialect.now(), given))
        moved = {(each.projection, each.generation, each.partition): each for each in map(self._checkpoint, rows)}
        if len(moved) != len(moves):
            raise checkpoint_conflict(moves[0].expected)
        return [moved[_place(move)] for move in moves]

    async def begin(
        self,
        db_tx: DatabaseTransaction,
        expected: Checkpoint,
        *,
        isolated_position: int = 0,
        isolated_attempts: int = 0,
    ) -> Checkpoint:
        """Write the crash marker into the row, by compare-and-set."""
        await self._compare_and_set(
            db_tx,
            "started_position = position, isolated_position = $7, isolated_attempts = $8",
            expected,
            isolated_position,
            isolated_attempts,
        )
        return replace(
            expected,
            started_position=expected.position,
            isolated_position=isolated_position,
            isolated_attempts=isolated_attempts,
        )

    async def park(self, db_tx: DatabaseTransaction, expected: Checkpoint, parked: ParkedStreamUpdate) -> Checkpoint:
        """Increase the checkpoint's revision, then write the row of the stream."""
        revised = await self._revised(db_tx, expected)
        await self._parked.put(sql_of(db_tx), expected, parked)
        return revised

    async def release(self, db_tx: DatabaseTransaction, expected: Checkpoint, stream: str) -> Checkpoint:
        """Increase the checkpoint's revision, then delete the row of the stream."""
        revised = await self._revised(db_tx, expected)
        await sql_of(db_tx).execute(
            f"DELETE FROM freehold_parked WHERE {_PLACE} AND stream = $3",
            (expected.projection, expected.generation, stream),
        )
        return revised

    async def parked(
        self,
        projection: str | None = None,
        generation: int | None = None,
        partition: int | None = None,
        *,
        stream: str | None = None,
        limit: int = 1000,
        db_tx: DatabaseTransaction | None = None,
    ) -> Sequence[ParkedStream]:
        """Parked streams, ordered by projection, generation and position."""
        wanted = {"projection": projection, "generation": generation, "partition": partition, "stream": stream}
        sql, parameters = self._parked.select(wanted, limit)
        return [self._parked.read(row) for row in await self._query(db_tx, sql, parameters)]

    async def count_parked(self) -> Mapping[tuple[str, int], int]:
        """The number of parked streams by projection and generation."""
        rows = await self._query(
            None, "SELECT projection, generation, count(*) FROM freehold_parked GROUP BY projection, generation", ()
        )
        return {(projection, generation): count for projection, generation, count in rows}

    async def pause(
        self, db_tx: DatabaseTransaction, projection: str, generation: int = ALL_GENERATIONS, *, reason: str, actor: str
    ) -> bool:
        """Record the pause, and increase the revision of the checkpoints, so that no batch in progress commits."""
        await self.lock(db_tx, projection, generation or None)
        text = storable(reason, _REASON_CHARACTERS_MAX)
        parameters = (self._dialect.now(), projection, generation, text, storable(actor, _REASON_CHARACTERS_MAX))
        if not await inserted(sql_of(db_tx), self._dialect, self._pause, parameters):
            return False
        await sql_of(db_tx).execute(
            "UPDATE freehold_checkpoint SET revision = revision + 1"
            " WHERE projection = $1 AND ($2 = 0 OR generation = $2)",
            (projection, generation),
        )
        return True

    async def resume(
        self, db_tx: DatabaseTransaction, projection: str, generation: int = ALL_GENERATIONS
    ) -> Pause | None:
        """Delete the pause; returns it."""
        rows = await sql_of(db_tx).fetch(
            f"DELETE FROM freehold_projection_pause WHERE {_PLACE}"
            " RETURNING projection, generation, reason, actor, paused_at",
            (projection, generation),
        )
        return self._read_pause(rows[0]) if rows else None

    async def pauses(self, projection: str | None = None) -> Sequence[Pause]:
        """The recorded pauses."""
        where, parameters = ("", ()) if projection is None else ("WHERE projection = $1", (projection,))
        sql = (
            "SELECT projection, generation, reason, actor, paused_at FROM freehold_projection_pause"
            f" {where} ORDER BY projection, generation"
        )
        return [self._read_pause(row) for row in await self._query(None, sql, parameters)]

    async def _compare_and_set(
        self, db_tx: DatabaseTransaction, changes: str, expected: Checkpoint, *more: int
    ) -> None:
        place = (expected.projection, expected.generation, expected.partition)
        sql = f"UPDATE freehold_checkpoint SET {changes} WHERE {_AS_SEEN}"
        if not await sql_of(db_tx).execute(
            sql, (*place, expected.position, expected.state.value, expected.revision, *more)
        ):
            raise checkpoint_conflict(expected)

    async def _revised(self, db_tx: DatabaseTransaction, expected: Checkpoint) -> Checkpoint:
        await self._compare_and_set(db_tx, "revision = revision + 1", expected)
        return replace(expected, revision=expected.revision + 1)

    def _read_pause(self, row: Row) -> Pause:
        projection, generation, reason, actor, paused_at = row
        return Pause(projection, generation, reason, actor, self._dialect.read_time(paused_at))

    async def _select(
        self,
        db_tx: DatabaseTransaction | None,
        projection: str | None,
        generation: int | None,
        partition: int | None,
        suffix: str,
    ) -> Sequence[Checkpoint]:
        columns = {"projection": projection, "generation": generation, "partition": partition}
        given = {column: value for column, value in columns.items() if value is not None}
        where = " AND ".join(f"{column} = ${number}" for number, column in enumerate(given, start=1))
        sql = (
            f"SELECT {CHECKPOINT} FROM freehold_checkpoint {'WHERE ' * bool(where)}{where}"
            f" ORDER BY projection, generation, partition {suffix}"
        )
        return [self._checkpoint(row) for row in await self._query(db_tx, sql, tuple(given.values()))]

    def _generation(self, row: Row) -> Generation:
        projection, number, version, partitions, state, reason, created_at, changed_at, tables = row
        times = (self._dialect.read_time(created_at), self._dialect.read_time(changed_at))
        names = tuple(msgspec.json.decode(tables))
        return Generation(projection, number, version, partitions, GenerationState(state), reason, *times, names)

    def _checkpoint(self, row: Row) -> Checkpoint:
        projection, generation, partition, position, state, revision, handled, failed, updated_at, *crash = row
        place = (projection, generation, partition, position, GenerationState(state), revision)
        return Checkpoint(*place, handled, failed, self._dialect.read_time(updated_at), *crash)


def _advance(dialect: Dialect) -> str:
    given = dialect.relation_sql(2, MOVE)
    same = "c.projection = g.projection AND c.generation = g.generation AND c.partition = g.partition"
    change = f"""\
UPDATE freehold_checkpoint SET position = g.target, handled = freehold_checkpoint.handled + g.handled,
    failed = freehold_checkpoint.failed + g.failed, updated_at = {dialect.now_sql(1)}
FROM {given} AS g
WHERE {same.replace("c.", "freehold_checkpoint.")} AND freehold_checkpoint.position = g.position
    AND freehold_checkpoint.state = g.state AND freehold_checkpoint.revision = g.revision
    AND freehold_checkpoint.state <> 'retired' AND g.target >= freehold_checkpoint.position AND"""
    held = f"""\
SELECT c.projection, c.generation, c.partition FROM freehold_checkpoint AS c JOIN {given} AS g ON {same}
ORDER BY c.projection, c.generation, c.partition"""
    # The engine sets the time and adds up the counters: they are read back from the row.
    returning = ", ".join(f"freehold_checkpoint.{column}" for column in CHECKPOINT.split(", "))
    key = "(g.projection, g.generation, g.partition)"
    return change_in_order(dialect, change, key, held, of="c", returning=returning)


def _place(move: Move) -> tuple[str, int, int]:
    return move.expected.projection, move.expected.generation, move.expected.partition


def _relation_row(move: Move) -> dict[str, str | int | None]:
    expected = move.expected
    return {
        "projection": expected.projection,
        "generation": expected.generation,
        "partition": expected.partition,
        "position": expected.position,
        "state": expected.state.value,
        "revision": expected.revision,
        "target": move.position,
        "handled": move.handled,
        "failed": move.failed,
    }
