"""Checkpoints on an SQL database. Base of the SQL engines: imports its siblings and the ports.

Statements that touch several checkpoints lock them in order first, so that two of them cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from freehold.adapters.sql.connection import Row, SqlDatabase
from freehold.adapters.sql.dialect import Dialect
from freehold.adapters.sql.generations import CHECKPOINT, PLACE, REASON_CHARACTERS_MAX, SqlGenerationStore
from freehold.adapters.sql.parked import ParkedStreams
from freehold.adapters.sql.store import sql_of, storable
from freehold.database import UnitOfWork
from freehold.errors import ConcurrencyConflict
from freehold.projection.store import (
    ALL_GENERATIONS,
    Checkpoint,
    CheckpointStore,
    Move,
    NewParkedKey,
    ParkedKey,
    Pause,
)

__all__ = ["SqlCheckpointStore"]

_MOVE: Final = (
    "projection text, generation integer, partition integer, position bigint, state text, revision bigint,"
    " target bigint, handled bigint, failed bigint"
)


class SqlCheckpointStore(SqlGenerationStore, CheckpointStore):
    """Checkpoints, parked streams and pauses in a table each, beside their generations."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._parked = ParkedStreams(database, dialect)
        lock, now = dialect.lock_rows, dialect.now_sql(1)
        given = dialect.relation_sql(2, _MOVE)
        same = "c.projection = g.projection AND c.generation = g.generation AND c.partition = g.partition"
        self._advance = f"""\
WITH held AS MATERIALIZED (
    SELECT c.projection, c.generation, c.partition FROM freehold_checkpoint AS c JOIN {given} AS g ON {same}
    ORDER BY c.projection, c.generation, c.partition {lock}{" OF c" if lock else ""}
)
UPDATE freehold_checkpoint SET position = g.target, handled = freehold_checkpoint.handled + g.handled,
    failed = freehold_checkpoint.failed + g.failed, updated_at = {now}
FROM {given} AS g
WHERE {same.replace("c.", "freehold_checkpoint.")} AND freehold_checkpoint.position = g.position
    AND freehold_checkpoint.state = g.state AND freehold_checkpoint.revision = g.revision
    AND freehold_checkpoint.state <> 'retired' AND g.target >= freehold_checkpoint.position
    AND (g.projection, g.generation, g.partition) IN (SELECT projection, generation, partition FROM held)
RETURNING {", ".join(f"freehold_checkpoint.{column}" for column in CHECKPOINT.split(", "))}"""
        self._revise = f"""\
UPDATE freehold_checkpoint SET revision = revision + 1
WHERE {PLACE} AND partition = $3 AND position = $4 AND state = $5 AND revision = $6 AND state <> 'retired'
RETURNING {CHECKPOINT}"""
        self._begin = f"""\
UPDATE freehold_checkpoint SET begun = position, alone = $7, attempts = $8
WHERE {PLACE} AND partition = $3 AND position = $4 AND state = $5 AND revision = $6 AND state <> 'retired'
RETURNING {CHECKPOINT}"""
        self._pause = f"""\
INSERT INTO freehold_projection_pause (projection, generation, reason, actor, paused_at) VALUES ($2, $3, $4, $5, {now})
ON CONFLICT DO NOTHING"""

    async def advance(self, unit: UnitOfWork, moves: Sequence[Move]) -> Sequence[Checkpoint]:
        """Compare and set."""
        if not moves:
            return []
        given = self._dialect.relation_value([_relation_row(move) for move in moves])
        rows = await sql_of(unit).fetch(self._advance, (self._dialect.now(), given))
        moved = {(each.projection, each.generation, each.partition): each for each in map(self._checkpoint, rows)}
        if len(moved) != len(moves):
            raise _overtaken(moves[0].seen)
        return [moved[move.seen.projection, move.seen.generation, move.seen.partition] for move in moves]

    async def begin(self, unit: UnitOfWork, seen: Checkpoint, *, alone: int = 0, attempts: int = 0) -> Checkpoint:
        """Write it into the row, as it was seen."""
        return await self._as_seen(unit, self._begin, seen, alone, attempts)

    async def park(self, unit: UnitOfWork, seen: Checkpoint, parked: NewParkedKey) -> Checkpoint:
        """Revise the checkpoint, then write the row."""
        revised = await self._revised(unit, seen)
        await self._parked.put(sql_of(unit), seen, parked)
        return revised

    async def release(self, unit: UnitOfWork, seen: Checkpoint, stream: str) -> Checkpoint:
        """Revise the checkpoint, then delete the row."""
        revised = await self._revised(unit, seen)
        await sql_of(unit).execute(
            f"DELETE FROM freehold_parked WHERE {PLACE} AND stream = $3", (seen.projection, seen.generation, stream)
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
        unit: UnitOfWork | None = None,
    ) -> Sequence[ParkedKey]:
        """Parked streams by projection, generation and position."""
        wanted = {"projection": projection, "generation": generation, "partition": partition, "stream": stream}
        sql, parameters = self._parked.select(wanted, limit)
        return [self._parked.read(row) for row in await self._fetch(unit, sql, parameters)]

    async def count_parked(self) -> Mapping[tuple[str, int], int]:
        """How many streams are parked."""
        rows = await self._fetch(
            None, "SELECT projection, generation, count(*) FROM freehold_parked GROUP BY projection, generation", ()
        )
        return {(projection, generation): count for projection, generation, count in rows}

    async def pause(
        self, unit: UnitOfWork, projection: str, generation: int = ALL_GENERATIONS, *, reason: str, actor: str
    ) -> bool:
        """Write it down, and revise the checkpoints, so that no batch under way commits."""
        await self.lock(unit, projection, generation or None)
        text = storable(reason, REASON_CHARACTERS_MAX)
        parameters = (self._dialect.now(), projection, generation, text, storable(actor, REASON_CHARACTERS_MAX))
        if await sql_of(unit).execute(self._pause, parameters) != 1:
            return False
        await sql_of(unit).execute(
            "UPDATE freehold_checkpoint SET revision = revision + 1"
            " WHERE projection = $1 AND ($2 = 0 OR generation = $2)",
            (projection, generation),
        )
        return True

    async def resume(self, unit: UnitOfWork, projection: str, generation: int = ALL_GENERATIONS) -> Pause | None:
        """Delete it."""
        rows = await sql_of(unit).fetch(
            f"DELETE FROM freehold_projection_pause WHERE {PLACE}"
            " RETURNING projection, generation, reason, actor, paused_at",
            (projection, generation),
        )
        return self._read_pause(rows[0]) if rows else None

    async def pauses(self, projection: str | None = None) -> Sequence[Pause]:
        """What stands still."""
        where, parameters = ("", ()) if projection is None else ("WHERE projection = $1", (projection,))
        sql = (
            "SELECT projection, generation, reason, actor, paused_at FROM freehold_projection_pause"
            f" {where} ORDER BY projection, generation"
        )
        return [self._read_pause(row) for row in await self._fetch(None, sql, parameters)]

    async def _revised(self, unit: UnitOfWork, seen: Checkpoint) -> Checkpoint:
        return await self._as_seen(unit, self._revise, seen)

    async def _as_seen(self, unit: UnitOfWork, sql: str, seen: Checkpoint, *more: int) -> Checkpoint:
        place = (seen.projection, seen.generation, seen.partition)
        rows = await sql_of(unit).fetch(sql, (*place, seen.position, seen.state.value, seen.revision, *more))
        if not rows:
            raise _overtaken(seen)
        return self._checkpoint(rows[0])

    def _read_pause(self, row: Row) -> Pause:
        projection, generation, reason, actor, paused_at = row
        return Pause(projection, generation, reason, actor, self._dialect.read_time(paused_at))


def _relation_row(move: Move) -> dict[str, str | int | None]:
    seen = move.seen
    return {
        "projection": seen.projection,
        "generation": seen.generation,
        "partition": seen.partition,
        "position": seen.position,
        "state": seen.state.value,
        "revision": seen.revision,
        "target": move.position,
        "handled": move.handled,
        "failed": move.failed,
    }


def _overtaken(seen: Checkpoint) -> ConcurrencyConflict:
    return ConcurrencyConflict(
        f"a checkpoint of projection '{seen.projection}', generation {seen.generation}, is not as it was seen",
        hint="another instance has taken over, or a person has changed something: read it again",
    )
