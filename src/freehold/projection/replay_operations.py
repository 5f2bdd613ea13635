"""The operator's actions on replays of events: begin, run, resume, cancel, drop. Pattern: imports its package."""

from __future__ import annotations

from collections.abc import AsyncIterator

from freehold.clock import Clock, SystemClock
from freehold.database import DatabaseTransaction
from freehold.errors import Unavailable
from freehold.policy import Retry, RetryAfter
from freehold.projection.operations import ProjectionOperations
from freehold.projection.read_model_store import READ_MODELS
from freehold.projection.replay import Into, Replayer, TimeRange
from freehold.projection.replay_store import REPLAYS, Replay, ReplayState, unknown_replay

__all__ = ["ReplayOperations"]

_NO_PROGRESS_SECONDS = 0.1
"""The pause after a batch without progress: an event below the end may still be written."""
_OUTAGE = Retry(attempts=8, delay_seconds=0.2, delay_seconds_max=10.0)


class ReplayOperations:
    """Actions on the replays of one service, each in a transaction with its audit row."""

    def __init__(self, projections: ProjectionOperations, clock: Clock | None = None) -> None:
        self._projections = projections
        self._stores = projections.stores
        self._clock: Clock = clock or SystemClock()

    @property
    def service(self) -> str:
        """The name of the service."""
        return self._projections.context.service

    async def begin(self, name: str, time_range: TimeRange, into: Into, *, actor: str, reason: str) -> Replay:
        """Begin a replay; `steps` runs it. Raises as `Replayer.begin`."""
        async with self._stores.database.begin() as db_tx:
            started = await self._replayer(name).begin(db_tx, time_range, into, actor=actor, reason=reason)
            await self._projections.note(db_tx, "projection.replay", f"{name}/r{started.number}", actor, reason)
        return started

    async def left(self, replay: Replay, limit: int) -> int:
        """How many events are left, at most `limit`."""
        return await self._replayer(replay.projection).left(replay, limit)

    async def steps(self, replay: Replay) -> AsyncIterator[Replay]:
        """Run a replay, and yield it after each batch. During an outage of the database it retries for a while, then
        raises `Unavailable`; the replay can be resumed.
        """
        replayer = self._replayer(replay.projection)
        attempt = 1
        while replay.state is ReplayState.RUNNING:
            before = replay.position
            try:
                replay = await replayer.step(replay)
            except Unavailable as error:
                decision = _OUTAGE.decide(attempt, error)
                if not isinstance(decision, RetryAfter):
                    raise
                attempt += 1
                await self._clock.sleep(decision.delay_seconds)
                replay = await self._stores[REPLAYS].get(replay.number)
            else:
                attempt = 1
                yield replay
                if replay.state is ReplayState.RUNNING and replay.position == before:
                    await self._clock.sleep(_NO_PROGRESS_SECONDS)

    async def restart(self, number: int, *, actor: str, reason: str) -> Replay:
        """Restart a replay that was killed or cancelled, at its position. Raises `ConcurrencyConflict` for one that is
        done.
        """
        async with self._stores.database.begin() as db_tx:
            replay = await self._stores[REPLAYS].restart(db_tx, number)
            await self._note(db_tx, "resume", replay, actor, reason)
        return replay

    async def cancel(self, number: int, *, actor: str, reason: str) -> Replay:
        """Stop a replay after the batch in progress. Raises `ConcurrencyConflict` for one that has ended."""
        async with self._stores.database.begin() as db_tx:
            replay = await self._stores[REPLAYS].end(db_tx, number, ReplayState.CANCELLED)
            await self._note(db_tx, "cancel", replay, actor, reason)
        return replay

    async def drop(self, number: int, *, actor: str, reason: str) -> Replay:
        """Drop an ended replay with its tables. Raises `NotFound`, `ConcurrencyConflict` for a running one."""
        async with self._stores.database.begin() as db_tx:
            replay = await self._stores[REPLAYS].delete(db_tx, number)
            if replay is None:
                raise unknown_replay(number)
            if replay.tables:
                await self._stores[READ_MODELS].drop(db_tx, replay.tables)
            await self._note(db_tx, "drop", replay, actor, reason)
        return replay

    def _replayer(self, name: str) -> Replayer:
        projection = self._projections.declared(name)
        return Replayer(self._stores.database, self._stores[REPLAYS], self._projections.history, projection)

    async def _note(self, db_tx: DatabaseTransaction, what: str, replay: Replay, actor: str, reason: str) -> None:
        subject = f"{replay.projection}/r{replay.number}"
        await self._projections.note(db_tx, f"projection.replay-{what}", subject, actor, reason)
