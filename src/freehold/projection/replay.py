"""Replaying a time range of events: into tables of its own, or into the live read model. Pattern: imports the
foundation, the event store port and its own package.

A batch, the replay's position and its counts are one transaction, so a replay that was killed continues from its
position. A batch that fails is rolled back and applied event by event; events that fail alone are stored as errors, and
skipped. There are no side effects.

If the process that ran a replay has crashed, the next one applies event by event as well. An event that was started as
often as `freehold.failures.CrashLimit` says, and never finished, is stored as an error: see
`freehold.projection.crash_recovery`.

The live read model gets only events that its runner has applied before: none after its checkpoints, and none of a
parked stream from the parked event on. A later batch or retry would apply these again, out of order.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from freehold.crash_points import crash_point
from freehold.database import Database, DatabaseTransaction
from freehold.errors import (
    ConcurrencyConflict,
    ConfigurationError,
    FreeholdError,
    NotFound,
    OperationTimeout,
    Unavailable,
)
from freehold.eventstore.store import EventFilter, RecordedEvent
from freehold.failures import CrashLimit, describe, name_of
from freehold.projection.declaration import Projection
from freehold.projection.generations import RebuildSource, live_generation
from freehold.projection.replay_store import NewReplay, Replay, ReplayError, ReplayState, ReplayStore
from freehold.projection.store import PARKED_READ_MAX
from freehold.projection.tables import REPLAY_MARK, PlacedTables

__all__ = ["Replayer", "StreamParked", "TimeRange"]

_log = logging.getLogger("freehold.projection")
_CONFLICTS_MAX: Final = 10
_CRASHES: Final = CrashLimit()
_UNCOUNT_SECONDS: Final = 2.0
_BATCH_SECONDS_MAX: Final = 60.0
"""A batch that takes longer is applied event by event; an event that takes longer is an error."""

Into = Literal["new", "live"]


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of the time at which events were recorded. The end is exclusive; None is the beginning, or now.

    Raises `ConfigurationError` for an empty range, and for times without a zone.
    """

    begins: datetime | None = None
    ends: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse an empty range, and times without a zone."""
        for each in (self.begins, self.ends):
            if each is not None and each.tzinfo is None:
                raise ConfigurationError("a time needs its zone", hint="2026-03-01T00:00:00Z")
        if self.begins is not None and self.ends is not None and self.begins >= self.ends:
            raise ConfigurationError("the time range ends before it begins", hint="--from must be earlier than --to")


class StreamParked(FreeholdError):
    """The event's stream is parked in the live read model, at this event or an earlier one."""


class Replayer:
    """Replays stored events through the handlers of one projection."""

    def __init__(self, database: Database, store: ReplayStore, history: RebuildSource, projection: Projection) -> None:
        self._database = database
        self._store = store
        self._history = history
        self._projection = projection
        self._own_tables = PlacedTables(history.stores, projection.tables, mark=REPLAY_MARK)
        self._started_number: int | None = None
        self._isolated_events = 0

    async def begin(
        self, db_tx: DatabaseTransaction, time_range: TimeRange, into: Into, *, actor: str, reason: str
    ) -> Replay:
        """Begin a replay; into `new`, make its tables. It ends at the last event of now, or at the lowest checkpoint of
        the live read model if it goes into that.

        Raises `ConfigurationError` for a projection without tables, or if the live read model is of another version
        than is declared here; `NotFound` if no generation is live.
        """
        if not self._projection.tables:
            raise ConfigurationError(
                f"projection '{self._projection.name}' has no tables to replay into", hint="rebuild it instead"
            )
        generation = await self._live(db_tx) if into == "live" else None
        replay = await self._store.create(
            db_tx,
            NewReplay(
                projection=self._projection.name,
                generation=generation,
                recorded_from=time_range.begins,
                recorded_to=time_range.ends,
                position=0,
                end=await self._end(db_tx, generation),
                actor=actor,
                reason=reason,
            ),
        )
        if into == "live":
            return replay
        await self._own_tables.create(db_tx, replay.number)
        names = [str(self._own_tables.physical(table, replay.number).fullname) for table in self._projection.tables]
        return await self._store.set_tables(db_tx, replay.number, names)

    async def left(self, replay: Replay, limit: int) -> int:
        """How many events are left, at most `limit`."""
        return await self._history.events.count(replay.position, replay.end, self._wanted(replay), limit=limit)

    async def step(self, replay: Replay) -> Replay:
        """Apply the next batch; end the replay after the last one.

        Raises `ConcurrencyConflict` if another process works on it, it was cancelled, or the generation that it goes
        into is not live any more; `Unavailable`: then call it again with the stored replay.
        """
        replay = await self._marked_started(replay)
        limit = 1 if self._isolated_events else self._projection.batch_limit
        page = await self._history.events.read_all(replay.position, limit=limit, event_filter=self._wanted(replay))
        batch = [each for each in page.events if each.position <= replay.end]
        through = min(page.end_position, replay.end)
        if batch and self._isolated_events:
            replay = await self._apply_isolated(replay, batch[0])
        elif batch:
            replay = await self._apply(replay, batch)
        if replay.position < through:
            replay = await self._move(replay, [], through)
        if through >= replay.end or len(page.events) > len(batch):
            async with self._database.begin() as db_tx:
                replay = await self._store.end(db_tx, replay.number, ReplayState.DONE)
                crash_point("projection.before-replay-end-commit")
        return replay

    async def _marked_started(self, replay: Replay) -> Replay:
        """Before the first step, record that this process starts from here. After a crash, isolate the next events."""
        if self._started_number == replay.number:
            return replay
        if replay.interrupted:
            self._isolated_events = self._projection.batch_limit
            text = "replay %d: previous runner crashed at position %d; processing one event at a time"
            _log.warning(text, replay.number, replay.position)
        else:
            replay = await self._begin(replay)
        self._started_number = replay.number
        return replay

    async def _begin(self, replay: Replay, isolated_position: int = 0, isolated_attempts: int = 0) -> Replay:
        async with self._database.begin() as db_tx:
            return await self._store.begin(
                db_tx, replay, isolated_position=isolated_position, isolated_attempts=isolated_attempts
            )

    async def _apply_isolated(self, replay: Replay, event: RecordedEvent) -> Replay:
        before = replay.attempts_at(event.position)
        if _CRASHES.reached(before):
            error = _CRASHES.error(before, "this event was replayed in isolation")
            async with self._database.begin() as db_tx:
                failed = [_failed(event, error)]
                replay = await self._store.advance(db_tx, replay, event.position, applied=0, failed=failed)
        else:
            replay = await self._begin(replay, event.position, before + 1)
            try:
                replay = await self._apply_one(replay, event)
            except (Exception, asyncio.CancelledError):
                # There was no crash, so the attempt is uncounted; if the database is away, it stays counted.
                with suppress(FreeholdError, TimeoutError):
                    async with asyncio.timeout(_UNCOUNT_SECONDS):
                        await self._begin(replay, event.position, before)
                raise
        self._isolated_events -= 1
        return replay

    async def _apply(self, replay: Replay, batch: list[RecordedEvent]) -> Replay:
        try:
            return await self._move(replay, batch, batch[-1].position)
        except (ConcurrencyConflict, Unavailable) as error:
            if not isinstance(error, OperationTimeout):
                raise
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; the events are applied one by one below
            _log.debug("replay %d: a batch failed with %s", replay.number, type(error).__name__)
        for each in batch:
            replay = await self._apply_one(replay, each)
        return replay

    async def _apply_one(self, replay: Replay, event: RecordedEvent) -> Replay:
        try:
            return await self._move(replay, [event], event.position)
        except (ConcurrencyConflict, Unavailable) as error:
            if not isinstance(error, OperationTimeout):
                raise
            failed = _failed(event, error)
        except Exception as error:  # noqa: BLE001 - it is stored, and does not stop the other events
            failed = _failed(event, error)
        async with self._database.begin() as db_tx:
            return await self._store.advance(db_tx, replay, event.position, applied=0, failed=[failed])

    async def _move(self, replay: Replay, batch: list[RecordedEvent], position: int) -> Replay:
        """Apply a batch in one transaction; retry after a conflict, unless the replay itself has moved."""
        attempt = 1
        while True:
            try:
                async with asyncio.timeout(_BATCH_SECONDS_MAX), self._database.begin() as db_tx:
                    moved = await self._store.advance(db_tx, replay, position, applied=len(batch))
                    await self._write(db_tx, replay, batch)
                    crash_point("projection.before-replay-commit")
            except ConcurrencyConflict:
                attempt += 1
                if attempt > _CONFLICTS_MAX or await self._store.get(replay.number) != replay:
                    raise
            else:
                crash_point("projection.replay-moved")
                return moved

    async def _end(self, db_tx: DatabaseTransaction, generation: int | None) -> int:
        """The last position to read. Checkpoints only rise, so a position that was reached stays reached."""
        mark = await self._history.events.high_water_mark()
        if generation is None:
            return mark
        checkpoints = await self._history.checkpoints.checkpoints(self._projection.name, generation, db_tx=db_tx)
        return min((each.position for each in checkpoints), default=mark)

    async def _write(self, db_tx: DatabaseTransaction, replay: Replay, batch: list[RecordedEvent]) -> None:
        if not batch:
            return
        tables, number = self._own_tables, replay.number
        if replay.generation is not None:
            # Locked, so that no batch of the live generation is applied meanwhile, and it stays live.
            await self._history.checkpoints.lock(db_tx, self._projection.name, replay.generation)
            generations = await self._history.checkpoints.generations(self._projection.name, db_tx=db_tx)
            live = live_generation(generations)
            if live is None or (live.number, live.version) != (replay.generation, self._projection.version):
                raise ConcurrencyConflict(
                    f"generation {replay.generation} of projection '{self._projection.name}' is not live any more",
                    hint="cancel this replay; the new generation was built from all events",
                )
            await self._refuse_parked(db_tx, replay.generation, batch)
            tables, number = self._history.tables(self._projection), replay.generation
        await self._history.apply(db_tx, self._projection, tables, number, batch)

    async def _refuse_parked(self, db_tx: DatabaseTransaction, generation: int, batch: list[RecordedEvent]) -> None:
        """Raise `StreamParked` for an event at or after the parked one of its stream; the checkpoints are locked."""
        name = self._projection.name
        parked = await self._history.checkpoints.parked(name, generation, limit=PARKED_READ_MAX, db_tx=db_tx)
        parked_at = {each.stream: each.position for each in parked}
        for each in batch:
            if each.position >= parked_at.get(each.stream, each.position + 1):
                raise StreamParked(
                    f"its stream is parked in generation {generation}", hint="retry the stream first, or skip its event"
                )

    async def _live(self, db_tx: DatabaseTransaction) -> int:
        live = live_generation(await self._history.checkpoints.generations(self._projection.name, db_tx=db_tx))
        if live is None:
            raise NotFound(f"projection '{self._projection.name}' has not run yet", hint="freehold run")
        if live.version != self._projection.version:
            raise ConfigurationError(
                f"projection '{self._projection.name}' is live in version {live.version},"
                f" and version {self._projection.version} here",
                hint="rebuild it, or run this where the code of the live version is deployed",
            )
        return live.number

    def _wanted(self, replay: Replay) -> EventFilter:
        return dataclasses.replace(
            self._projection.event_filter, recorded_from=replay.recorded_from, recorded_to=replay.recorded_to
        )


def _failed(event: RecordedEvent, error: BaseException) -> ReplayError:
    """The stored error: its type and where it was raised. Its text could contain a payload."""
    return ReplayError(
        position=event.position,
        stream=event.stream,
        version=event.version,
        event_id=event.event.id,
        type=event.event.type,
        error=name_of(error),
        detail=describe(error),
    )
