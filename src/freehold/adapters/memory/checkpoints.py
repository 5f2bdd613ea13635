"""Checkpoints in memory. Adapter: imports the port and the memory database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import MemoryTransaction, Table, memory_transaction
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

__all__ = ["MemoryCheckpointStore"]


@dataclass(frozen=True, slots=True)
class _Parked:
    key: ParkedStream
    due_at: datetime | None


_GENERATIONS: Final[Table[tuple[str, int], Generation]] = Table("projection")
_CHECKPOINTS: Final[Table[tuple[str, int, int], Checkpoint]] = Table("checkpoint")
_PARKED: Final[Table[tuple[str, int, str], _Parked]] = Table("parked")
_PAUSES: Final[Table[tuple[str, int], Pause]] = Table("projection_pause")


class MemoryCheckpointStore(CheckpointStore):
    """Keeps generations, checkpoints, parked streams and pauses."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def generations(
        self, projection: str | None = None, *, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Generation]:
        """Generations, ordered by projection and number."""
        rows = await self._rows(_GENERATIONS, db_tx)
        return [rows[key] for key in sorted(rows) if projection in {None, key[0]}]

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
        """Add a generation and its checkpoints. Raises `ConcurrencyConflict` where the number exists, or another
        generation is live.
        """
        rows, now = memory_transaction(db_tx).rows(_GENERATIONS), self._database.now()
        live = state is GenerationState.LIVE and _has_live(memory_transaction(db_tx), projection)
        if live or rows.get((projection, number)) is not None:
            raise ConcurrencyConflict(
                f"projection '{projection}' already has generation {number}, or another one that is live",
                hint="read its generations again",
            )
        made = Generation(projection, number, version, partitions, state, reason, now, now, tuple(tables))
        rows.put((projection, number), made)
        for partition in range(partitions):
            checkpoint = Checkpoint(projection, number, partition, position, state, 0, 0, 0, now)
            memory_transaction(db_tx).rows(_CHECKPOINTS).put((projection, number, partition), checkpoint)
        return made

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
        rows = memory_transaction(db_tx).rows(_GENERATIONS)
        found = rows.get((projection, number))
        taken = to is GenerationState.LIVE and _has_live(memory_transaction(db_tx), projection)
        if found is None or found.state is not expected or taken:
            raise ConcurrencyConflict(
                f"generation {number} of '{projection}' is not {expected.value}, or cannot become {to.value}",
                hint="read its generations again; only one of them can be live",
            )
        rows.put((projection, number), replace(found, state=to, changed_at=self._database.now()))
        _revise_all(memory_transaction(db_tx), projection, number, to)

    async def forget(self, db_tx: DatabaseTransaction, projection: str, number: int) -> None:
        """Delete the generation from all tables. Raises `ConcurrencyConflict` for the live one."""
        generations = memory_transaction(db_tx).rows(_GENERATIONS)
        found = generations.get((projection, number))
        if found is not None and found.state is GenerationState.LIVE:
            raise ConcurrencyConflict(
                f"generation {number} of projection '{projection}' is live", hint="switch to another one first"
            )
        tables: Sequence[Table[Any, Any]] = (_CHECKPOINTS, _PARKED, _PAUSES, _GENERATIONS)
        for table in tables:
            rows = memory_transaction(db_tx).rows(table)
            for key in [key for key, _ in rows.items() if key[:2] == (projection, number)]:
                rows.remove(key)

    async def checkpoints(
        self, projection: str | None = None, generation: int | None = None, *, db_tx: DatabaseTransaction | None = None
    ) -> Sequence[Checkpoint]:
        """Checkpoints, not locked."""
        rows = await self._rows(_CHECKPOINTS, db_tx)
        return [rows[key] for key in sorted(rows) if projection in {None, key[0]} and generation in {None, key[1]}]

    async def lock(
        self, db_tx: DatabaseTransaction, projection: str, generation: int | None = None, partition: int | None = None
    ) -> Sequence[Checkpoint]:
        """Checkpoints; no other transaction can write them meanwhile."""
        found = await self.checkpoints(projection, generation, db_tx=db_tx)
        return [each for each in found if partition in {None, each.partition}]

    async def advance(self, db_tx: DatabaseTransaction, moves: Sequence[Move]) -> Sequence[Checkpoint]:
        """Advance checkpoints by compare-and-set. Raises `ConcurrencyConflict` where one differs."""
        return [self._advance(memory_transaction(db_tx), move) for move in moves]

    def _advance(self, db_tx: MemoryTransaction, move: Move) -> Checkpoint:
        found = _checked(db_tx, move.expected)
        if move.position < found.position:
            raise checkpoint_conflict(move.expected)
        handled, failed = found.handled + move.handled, found.failed + move.failed
        moved = replace(found, position=move.position, handled=handled, failed=failed, updated_at=self._database.now())
        db_tx.rows(_CHECKPOINTS).put((moved.projection, moved.generation, moved.partition), moved)
        return moved

    async def begin(
        self,
        db_tx: DatabaseTransaction,
        expected: Checkpoint,
        *,
        isolated_position: int = 0,
        isolated_attempts: int = 0,
    ) -> Checkpoint:
        """Write the crash marker into the checkpoint, by compare-and-set."""
        found = _checked(memory_transaction(db_tx), expected)
        started = replace(
            found,
            started_position=found.position,
            isolated_position=isolated_position,
            isolated_attempts=isolated_attempts,
        )
        memory_transaction(db_tx).rows(_CHECKPOINTS).put(
            (expected.projection, expected.generation, expected.partition), started
        )
        return started

    async def park(self, db_tx: DatabaseTransaction, expected: Checkpoint, parked: ParkedStreamUpdate) -> Checkpoint:
        """Increase the checkpoint's revision, and add the parked stream."""
        revised = _revised(memory_transaction(db_tx), expected)
        rows, place = memory_transaction(db_tx).rows(_PARKED), (expected.projection, expected.generation, parked.stream)
        known = rows.get(place)
        key = ParkedStream(
            projection=expected.projection,
            generation=expected.generation,
            partition=expected.partition,
            stream=parked.stream,
            position=parked.position,
            version=parked.version,
            event_id=parked.event_id,
            type=parked.type,
            error=parked.error,
            detail=parked.detail,
            attempts=parked.attempts,
            parked_at=self._database.now() if known is None else known.key.parked_at,
            due_seconds=None,
            started_attempts=parked.started_attempts,
        )
        due_at = None if parked.retry_seconds is None else self._database.later(parked.retry_seconds)
        rows.put(place, _Parked(key, due_at))
        return revised

    async def release(self, db_tx: DatabaseTransaction, expected: Checkpoint, stream: str) -> Checkpoint:
        """Increase the checkpoint's revision, and delete the parked stream."""
        revised = _revised(memory_transaction(db_tx), expected)
        memory_transaction(db_tx).rows(_PARKED).remove((expected.projection, expected.generation, stream))
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
        now = self._database.now()
        found = [
            replace(each.key, due_seconds=None if each.due_at is None else (each.due_at - now).total_seconds())
            for each in (await self._rows(_PARKED, db_tx)).values()
            if projection in {None, each.key.projection}
            and generation in {None, each.key.generation}
            and partition in {None, each.key.partition}
            and stream in {None, each.key.stream}
        ]
        return sorted(found, key=lambda each: (each.projection, each.generation, each.position))[:limit]

    async def count_parked(self) -> Mapping[tuple[str, int], int]:
        """The number of parked streams by projection and generation."""
        return Counter(key[:2] for key in await self._rows(_PARKED, None))

    async def pause(
        self, db_tx: DatabaseTransaction, projection: str, generation: int = ALL_GENERATIONS, *, reason: str, actor: str
    ) -> bool:
        """Record the pause, and increase the revision of the checkpoints, so that no batch in progress commits."""
        rows = memory_transaction(db_tx).rows(_PAUSES)
        if rows.get((projection, generation)) is not None:
            return False
        rows.put((projection, generation), Pause(projection, generation, reason, actor, self._database.now()))
        _revise_all(memory_transaction(db_tx), projection, generation)
        return True

    async def resume(
        self, db_tx: DatabaseTransaction, projection: str, generation: int = ALL_GENERATIONS
    ) -> Pause | None:
        """Delete the pause; returns it."""
        rows = memory_transaction(db_tx).rows(_PAUSES)
        found = rows.get((projection, generation))
        rows.remove((projection, generation))
        return found

    async def pauses(self, projection: str | None = None) -> Sequence[Pause]:
        """The recorded pauses."""
        rows = await self._rows(_PAUSES, None)
        return [rows[key] for key in sorted(rows) if projection in {None, key[0]}]

    async def _rows(self, table: Table[Any, Any], db_tx: DatabaseTransaction | None) -> Mapping[Any, Any]:
        if db_tx is not None:
            return dict(memory_transaction(db_tx).rows(table).items())
        return await self._database.read(table)


def _has_live(db_tx: MemoryTransaction, projection: str) -> bool:
    return any(
        each.projection == projection and each.state is GenerationState.LIVE
        for each in db_tx.rows(_GENERATIONS).values()
    )


def _revise_all(db_tx: MemoryTransaction, projection: str, generation: int, to: GenerationState | None = None) -> None:
    rows = db_tx.rows(_CHECKPOINTS)
    for key, each in rows.items():
        if each.projection == projection and generation in {ALL_GENERATIONS, each.generation}:
            rows.put(key, replace(each, state=to or each.state, revision=each.revision + 1))


def _checked(db_tx: MemoryTransaction, expected: Checkpoint) -> Checkpoint:
    found = db_tx.rows(_CHECKPOINTS).get((expected.projection, expected.generation, expected.partition))
    if found is None or found.state is GenerationState.RETIRED:
        raise checkpoint_conflict(expected)
    if (found.position, found.state, found.revision) != (expected.position, expected.state, expected.revision):
        raise checkpoint_conflict(expected)
    return found


def _revised(db_tx: MemoryTransaction, expected: Checkpoint) -> Checkpoint:
    found = _checked(db_tx, expected)
    revised = replace(found, revision=found.revision + 1)
    db_tx.rows(_CHECKPOINTS).put((expected.projection, expected.generation, expected.partition), revised)
    return revised
