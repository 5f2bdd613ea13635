"""Replays in memory. Adapter: imports the replay port and the memory database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from freehold.adapters.memory.database import MemoryDatabase
from freehold.adapters.memory.state import Table, memory_transaction
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

__all__ = ["MemoryReplayStore"]

_REPLAYS: Final[Table[int, Replay]] = Table("replays")
_ERRORS: Final[Table[tuple[int, int], ReplayError]] = Table("replay-errors")


class MemoryReplayStore(ReplayStore):
    """Keeps replays by number, errors by replay and position."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def create(self, db_tx: DatabaseTransaction, replay: NewReplay) -> Replay:
        """Add a replay with the next number."""
        now = self._database.now()
        made = Replay(
            number=memory_transaction(db_tx).draw(),
            projection=replay.projection,
            generation=replay.generation,
            recorded_from=replay.recorded_from,
            recorded_to=replay.recorded_to,
            position=replay.position,
            end=replay.end,
            applied=0,
            failed=0,
            state=ReplayState.RUNNING,
            actor=replay.actor,
            reason=replay.reason,
            tables=(),
            created_at=now,
            updated_at=now,
        )
        return self._put(db_tx, made)

    async def set_tables(self, db_tx: DatabaseTransaction, number: int, tables: Sequence[str]) -> Replay:
        """Record the names of the replay's own tables. Raises `NotFound`."""
        return self._put(db_tx, replace(_found(db_tx, number), tables=tuple(tables)))

    async def advance(
        self,
        db_tx: DatabaseTransaction,
        expected: Replay,
        position: int,
        *,
        applied: int,
        failed: Sequence[ReplayError] = (),
    ) -> Replay:
        """Advance by compare-and-set, then add the errors. Raises `ConcurrencyConflict`."""
        now = _checked(db_tx, expected)
        for each in failed:
            memory_transaction(db_tx).rows(_ERRORS).put((expected.number, each.position), each)
        return self._put(
            db_tx, replace(now, position=position, applied=now.applied + applied, failed=now.failed + len(failed))
        )

    async def begin(
        self, db_tx: DatabaseTransaction, expected: Replay, *, isolated_position: int = 0, isolated_attempts: int = 0
    ) -> Replay:
        """Write the crash marker into the replay, by compare-and-set. Raises `ConcurrencyConflict`."""
        now = _checked(db_tx, expected)
        return self._put(
            db_tx,
            replace(
                now,
                started_position=now.position,
                isolated_position=isolated_position,
                isolated_attempts=isolated_attempts,
            ),
        )

    async def end(self, db_tx: DatabaseTransaction, number: int, state: ReplayState) -> Replay:
        """End a running replay in this state. Raises `NotFound`, `ConcurrencyConflict`."""
        return self._to_state(db_tx, number, ReplayState.RUNNING, state)

    async def restart(self, db_tx: DatabaseTransaction, number: int) -> Replay:
        """Set a cancelled replay to running again. Raises `NotFound`, `ConcurrencyConflict`."""
        found = _found(db_tx, number)
        if found.state is ReplayState.RUNNING:
            return found
        return self._to_state(db_tx, number, ReplayState.CANCELLED, ReplayState.RUNNING)

    async def get(self, number: int) -> Replay:
        """One replay. Raises `NotFound`."""
        found = (await self._database.read(_REPLAYS)).get(number)
        if found is None:
            raise unknown_replay(number)
        return found

    async def find(self, projection: str | None = None, *, limit: int = 100) -> Sequence[Replay]:
        """Replays, newest first."""
        rows = sorted((await self._database.read(_REPLAYS)).values(), key=lambda each: -each.number)
        return [each for each in rows if projection is None or each.projection == projection][:limit]

    async def errors(self, number: int, *, after: int = 0, limit: int = 100) -> Sequence[ReplayError]:
        """Failed events in order of position."""
        rows = sorted((await self._database.read(_ERRORS)).items())
        return [each for (replay, position), each in rows if replay == number and position > after][:limit]

    async def delete(self, db_tx: DatabaseTransaction, number: int) -> Replay | None:
        """Delete a replay and its errors. Raises `ConcurrencyConflict` while it is running."""
        found = memory_transaction(db_tx).rows(_REPLAYS).get(number)
        if found is None:
            return None
        if found.state is ReplayState.RUNNING:
            raise ConcurrencyConflict(f"replay {number} is running", hint="cancel it first")
        memory_transaction(db_tx).rows(_REPLAYS).remove(number)
        errors = memory_transaction(db_tx).rows(_ERRORS)
        for key in [key for key, _ in errors.items() if key[0] == number]:
            errors.remove(key)
        return found

    async def prune(self, older_than_seconds: float, limit: int) -> int:
        """Delete old errors first, then replays without errors; returns the number of rows."""
        before = self._database.later(-older_than_seconds)
        async with self._database.begin() as db_tx:
            rows, errors = db_tx.rows(_REPLAYS), db_tx.rows(_ERRORS)
            old = {number for number, each in rows.items() if _has_ended(each) and each.updated_at < before}
            gone = [key for key, _ in errors.items() if key[0] in old][:limit]
            deleted = sum(errors.remove(key) for key in gone)
            left = {key[0] for key, _ in errors.items()}
            return deleted + sum(rows.remove(number) for number in sorted(old - left)[: limit - deleted])

    def _to_state(self, db_tx: DatabaseTransaction, number: int, expected: ReplayState, to: ReplayState) -> Replay:
        found = _found(db_tx, number)
        if found.state is not expected:
            raise ConcurrencyConflict(f"replay {number} is {found.state.value}, not {expected.value}")
        return self._put(db_tx, replace(found, state=to))

    def _put(self, db_tx: DatabaseTransaction, replay: Replay) -> Replay:
        made = replace(replay, updated_at=self._database.now())
        memory_transaction(db_tx).rows(_REPLAYS).put(made.number, made)
        return made


def _has_ended(replay: Replay) -> bool:
    return replay.state is not ReplayState.RUNNING and not replay.tables


def _where(replay: Replay) -> tuple[int, int, int]:
    return (replay.position, replay.applied, replay.failed)


def _checked(db_tx: DatabaseTransaction, expected: Replay) -> Replay:
    now = memory_transaction(db_tx).rows(_REPLAYS).get(expected.number)
    if now is None or now.state is not ReplayState.RUNNING or _where(now) != _where(expected):
        raise replay_conflict(expected)
    return now


def _found(db_tx: DatabaseTransaction, number: int) -> Replay:
    found = memory_transaction(db_tx).rows(_REPLAYS).get(number)
    if found is None:
        raise unknown_replay(number)
    return found
