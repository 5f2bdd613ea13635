"""Generations of read models on an SQL database, with their checkpoints as they stand. Base of the SQL engines: imports
its siblings and the ports.

A checkpoint is always locked before the generation that it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from freehold.adapters.sql.connection import Row, SqlDatabase
from freehold.adapters.sql.dialect import Dialect
from freehold.adapters.sql.store import SqlStore, sql_of, storable
from freehold.database import UnitOfWork
from freehold.errors import ConcurrencyConflict
from freehold.projection.store import Checkpoint, Generation, GenerationState

__all__ = ["CHECKPOINT", "PLACE", "REASON_CHARACTERS_MAX", "SqlGenerationStore"]

REASON_CHARACTERS_MAX: Final = 1000
CHECKPOINT: Final = (
    "projection, generation, partition, position, state, revision, handled, failed, updated_at, begun, alone, attempts"
)
PLACE: Final = "projection = $1 AND generation = $2"
_GENERATION: Final = "projection, generation, version, partitions, state, reason, created_at, changed_at, tables"
_NEW_CHECKPOINT: Final = "projection text, generation integer, partition integer, position bigint, state text"


class SqlGenerationStore(SqlStore):
    """The part of the checkpoint store that makes, moves and forgets generations."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        now, new = dialect.now_sql(1), dialect.relation_sql(2, _NEW_CHECKPOINT)
        self._create = f"""\
INSERT INTO freehold_projection ({_GENERATION}) VALUES ($2, $3, $4, $5, $6, $7, {now}, {now}, $8)
ON CONFLICT DO NOTHING RETURNING {_GENERATION}"""
        self._create_checkpoints = f"""\
INSERT INTO freehold_checkpoint (projection, generation, partition, position, state, updated_at)
SELECT g.projection, g.generation, g.partition, g.position, g.state, {now} FROM {new} AS g"""
        self._transition = f"""\
UPDATE freehold_projection SET state = $5, changed_at = {now}
WHERE projection = $2 AND generation = $3 AND state = $4
    AND ($5 <> 'live' OR NOT EXISTS (SELECT 1 FROM freehold_projection WHERE projection = $2 AND state = 'live'))"""

    async def generations(
        self, projection: str | None = None, *, unit: UnitOfWork | None = None
    ) -> Sequence[Generation]:
        """Generations by name and number."""
        where, parameters = ("", ()) if projection is None else ("WHERE projection = $1", (projection,))
        sql = f"SELECT {_GENERATION} FROM freehold_projection {where} ORDER BY projection, generation"
        return [self._generation(row) for row in await self._fetch(unit, sql, parameters)]

    async def create(
        self,
        unit: UnitOfWork,
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
        """Insert a generation and its checkpoints; one that is there, by number or as the live one, is a conflict."""
        text = storable(reason, REASON_CHARACTERS_MAX)
        now = self._dialect.now()
        names = msgspec.json.encode(list(tables)).decode()
        values = (now, projection, number, version, partitions, state.value, text, names)
        made = await sql_of(unit).fetch(self._create, values)
        if not made:
            raise ConcurrencyConflict(
                f"projection '{projection}' has generation {number}, or another one that is live, already",
                hint="look at its generations again",
            )
        place: dict[str, str | int | None] = {"projection": projection, "generation": number}
        rows = [
            {**place, "partition": partition, "position": position, "state": state.value}
            for partition in range(partitions)
        ]
        await sql_of(unit).execute(self._create_checkpoints, (now, self._dialect.relation_value(rows)))
        return self._generation(made[0])

    async def transition(
        self, unit: UnitOfWork, projection: str, number: int, *, seen: GenerationState, to: GenerationState
    ) -> None:
        """Move the generation and its checkpoints."""
        await self.lock(unit, projection, number)
        sql = sql_of(unit)
        lock = f"SELECT 1 FROM freehold_projection WHERE projection = $1 ORDER BY generation {self._dialect.lock_rows}"
        await sql.fetch(lock, (projection,))
        parameters = (self._dialect.now(), projection, number, seen.value, to.value)
        if await sql.execute(self._transition, parameters) != 1:
            raise ConcurrencyConflict(
                f"generation {number} of projection '{projection}' is not {seen.value}, or cannot become {to.value}",
                hint="look at its generations again; one of them is live",
            )
        await sql.execute(
            f"UPDATE freehold_checkpoint SET state = $3, revision = revision + 1 WHERE {PLACE}",
            (projection, number, to.value),
        )

    async def forget(self, unit: UnitOfWork, projection: str, number: int) -> None:
        """Delete from every table."""
        await self.lock(unit, projection, number)
        sql = sql_of(unit)
        lock = f"SELECT state FROM freehold_projection WHERE {PLACE} {self._dialect.lock_rows}"
        for (state,) in await sql.fetch(lock, (projection, number)):
            if state == GenerationState.LIVE.value:
                raise ConcurrencyConflict(
                    f"generation {number} of projection '{projection}' is live", hint="switch to another one first"
                )
        for table in ("parked", "projection_pause", "checkpoint", "projection"):
            await sql.execute(f"DELETE FROM freehold_{table} WHERE {PLACE}", (projection, number))

    async def checkpoints(
        self, projection: str | None = None, generation: int | None = None, *, unit: UnitOfWork | None = None
    ) -> Sequence[Checkpoint]:
        """Checkpoints as they stand."""
        return await self._select(unit, projection, generation, None, "")

    async def lock(
        self, unit: UnitOfWork, projection: str, generation: int | None = None, partition: int | None = None
    ) -> Sequence[Checkpoint]:
        """The same, locked in order."""
        return await self._select(unit, projection, generation, partition, self._dialect.lock_rows)

    async def _select(
        self,
        unit: UnitOfWork | None,
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
        return [self._checkpoint(row) for row in await self._fetch(unit, sql, tuple(given.values()))]

    async def _fetch(self, unit: UnitOfWork | None, sql: str, parameters: Sequence[object]) -> Sequence[Row]:
        if unit is not None:
            return await sql_of(unit).fetch(sql, parameters)
        async with self._database.direct() as direct:
            return await direct.fetch(sql, parameters)

    def _generation(self, row: Row) -> Generation:
        projection, number, version, partitions, state, reason, created_at, changed_at, tables = row
        times = (self._dialect.read_time(created_at), self._dialect.read_time(changed_at))
        names = tuple(msgspec.json.decode(tables))
        return Generation(projection, number, version, partitions, GenerationState(state), reason, *times, names)

    def _checkpoint(self, row: Row) -> Checkpoint:
        projection, generation, partition, position, state, revision, *counts, updated_at, begun, alone, attempts = row
        place = (projection, generation, partition, position, GenerationState(state), revision)
        handled, failed = counts
        return Checkpoint(*place, handled, failed, self._dialect.read_time(updated_at), begun, alone, attempts)
