"""The processor of batches: commits a batch with its checkpoints in one transaction, divides it if it fails, and parks
the stream of an event that fails alone. And the runner's cache of checkpoints, parked streams and pauses.

Pattern: imports the ports, the transaction and its package. Isolation after a crash is described in
`freehold.projection.crash_recovery`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from freehold.clock import Clock
from freehold.crash_points import crash_point
from freehold.errors import ConcurrencyConflict, FreeholdError, OperationTimeout
from freehold.eventstore.store import RecordedEvent
from freehold.failures import CrashLimit, describe
from freehold.projection.batch import Batch, HandlerInvoker
from freehold.projection.crash_recovery import CrashRecovery, isolation_lock
from freehold.projection.declaration import Projection
from freehold.projection.parking_policy import CRASH_HINT, is_transient, parked_by
from freehold.projection.store import (
    ALL_GENERATIONS,
    PARKED_READ_MAX,
    Checkpoint,
    CheckpointStore,
    Generation,
    GenerationState,
    ParkedStream,
)
from freehold.projection.tables import PlacedTables
from freehold.transaction import Transactions

__all__ = ["BatchProcessor", "CheckpointCache", "Progress"]

_log = logging.getLogger("freehold.projection")
_UNCOUNT_SECONDS: Final = 2.0


@dataclass(slots=True)
class Progress:
    """Counts since the start of a runner."""

    batches: int = 0
    events: int = 0
    parked: int = 0
    conflicts: int = 0


class BatchProcessor:
    """Applies batches to one generation, and keeps the cache up to date."""

    def __init__(
        self,
        name: str,
        projection: Projection,
        transactions: Transactions,
        store: CheckpointStore,
        cache: CheckpointCache,
        recovery: CrashRecovery,
        *,
        batch_timeout_seconds: float,
    ) -> None:
        context = transactions.context
        tables = PlacedTables(context.stores, projection.tables)
        self.invoker = HandlerInvoker(projection, context.service, cache.generation.number, tables)
        self.progress = Progress()
        self.handling = False
        """Whether the last attempt had reached the handlers: an error before that is not due to an event."""
        self._name = name
        self._title = f"{context.service}: {name}"
        self._projection = projection
        self._transactions = transactions
        self._context = context
        self._store = store
        self._cache = cache
        self._recovery = recovery
        self._batch_timeout_seconds = batch_timeout_seconds
        self._crashes = CrashLimit.of(projection.retry)
        self._counted: dict[int, tuple[int, int]] = {}
        self._to_uncount: dict[int, tuple[Checkpoint, int, int]] = {}

    @property
    def pending_correction(self) -> str:
        """The attempts that prove nothing and are counted still, because the database was away."""
        return f"the count of attempts of {len(self._to_uncount)} events" if self._to_uncount else ""

    async def uncount(self) -> None:
        """Uncount attempts that prove nothing. Raises `Unavailable`."""
        for partition, (seen, position, attempts) in list(self._to_uncount.items()):
            with suppress(ConcurrencyConflict):  # another process has continued from there
                async with self._context.database.begin() as db_tx:
                    await self._store.begin(db_tx, seen, isolated_position=position, isolated_attempts=attempts)
            self._to_uncount.pop(partition, None)

    async def apply(self, batch: Batch) -> None:
        """Apply a batch, or its parts if it fails; in the end each event is applied or its stream is parked."""
        try:
            await self._commit(batch)
        except Exception as error:
            known = self._known(error)
            # A statement may time out because the batch is too large: then the batch is divided.
            too_much = isinstance(known, OperationTimeout) and len(batch.events) > 1
            if not self._tried(batch) or (is_transient(known) and not too_much):
                if isinstance(known, OperationTimeout) and self._tried(batch):
                    self._recovery.isolate(batch.partition_of(batch.events[0]))
                raise
        else:
            return
        # Outside of `except`, so that an error from here on does not get this one as its context.
        if len(batch.events) == 1:
            await self._park(batch, known)
            return
        first, second = batch.halves()
        await self.apply(first)
        await self.apply(second)

    async def apply_isolated(self, batch: Batch) -> None:
        """Apply a batch of one event, or of none, in isolation."""
        if not batch.events or batch.events[0].stream in self._cache.parked:
            await self._commit(batch)
            return
        (event,) = batch.events
        async with isolation_lock():
            seen = self._cache.checkpoints[batch.partition_of(event)]
            attempts = self._attempts_before(seen, event)
            if self._crashes.reached(attempts):
                error = self._crashes.error(attempts, "this event was handled in isolation", CRASH_HINT)
                await self._park(batch, error, attempts)
                return
            self._counted[seen.partition] = event.position, attempts + 1
            self._to_uncount.pop(seen.partition, None)
            await self._begin(seen, event, attempts + 1)
            try:
                await self._commit(batch)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - `_judge` raises it again, or parks the event
                await self._judge(batch, error, attempts)

    async def begin(self, checkpoints: list[Checkpoint]) -> None:
        """Record that this runner starts from here."""
        async with self._context.database.begin() as db_tx:
            started = [await self._store.begin(db_tx, each) for each in checkpoints]
            crash_point("projection.before-start-commit")
        crash_point("projection.started")
        self._cache.checkpoints.update((each.partition, each) for each in started)
        self._recovery.mark(each.partition for each in started)

    def _attempts_before(self, seen: Checkpoint, event: RecordedEvent) -> int:
        """How often an event was started in isolation, without an attempt of this process that is not uncounted yet."""
        found = seen.attempts_at(event.position)
        return found - 1 if self._counted.get(seen.partition) == (event.position, found) else found

    async def _judge(self, batch: Batch, error: BaseException, attempts_before: int) -> None:
        """Count an attempt that ended by an error, and park the event, unless the error is not due to the event."""
        known = self._known(error)
        counts = self._tried(batch) and isinstance(known, (OperationTimeout, ConcurrencyConflict))
        if not isinstance(known, Exception) or not self._tried(batch) or (is_transient(known) and not counts):
            await self._uncount(batch, attempts_before)
            raise error
        self._counted.pop(batch.partition_of(batch.events[0]), None)
        if counts and not self._crashes.reached(attempts_before + 1):
            raise error
        await self._park(batch, known)

    async def _begin(self, seen: Checkpoint, event: RecordedEvent, attempts: int) -> None:
        async with self._context.database.begin() as db_tx:
            started = await self._store.begin(db_tx, seen, isolated_position=event.position, isolated_attempts=attempts)
            crash_point("projection.before-isolation-commit")
        crash_point("projection.isolated")
        self._cache.checkpoints[started.partition] = started
        if attempts > 1:
            text = (
                "%s: previous runner crashed at the event at position %d; isolated attempt %d of %d, then it is parked"
            )
            _log.warning(text, self._title, event.position, attempts, self._crashes.crashes_max)

    async def _uncount(self, batch: Batch, attempts: int) -> None:
        """Uncount an attempt now, or later if the database is away; until then only this process knows of it."""
        (event,) = batch.events
        partition = batch.partition_of(event)
        self._to_uncount[partition] = self._cache.checkpoints[partition], event.position, attempts
        with suppress(FreeholdError, TimeoutError):
            async with asyncio.timeout(_UNCOUNT_SECONDS):
                await self._begin(self._cache.checkpoints[partition], event, attempts)
                del self._counted[partition], self._to_uncount[partition]

    async def _commit(self, batch: Batch) -> None:
        parked, self.handling = self._cache.parked, False
        events = [event for event in batch.events if event.stream not in parked] if parked else batch.events
        moves = batch.moves(self._cache.checkpoints, parked=parked)
        async with asyncio.timeout(self._batch_timeout_seconds):
            if self._projection.sink is not None:
                self.handling = True
                crash_point("projection.before-sink")
                await self.invoker.sink(events)
                crash_point("projection.sink-written")
                self.handling = False
            async with self._transactions.begin() as tx:
                moved = await self._store.advance(tx.db_tx, moves)
                crash_point("projection.advanced")
                if events and self._projection.sink is None:
                    self.handling = True
                    await self.invoker.apply(tx, events, moved[0].state)
                    crash_point("projection.applied")
        crash_point("projection.committed")
        self._cache.checkpoints.update((each.partition, each) for each in moved)
        self.progress.batches += 1
        self.progress.events += len(events)

    def _tried(self, batch: Batch) -> bool:
        """Whether an event was given to a handler. Events of parked streams are not, and must not be parked again."""
        return self.handling and any(event.stream not in self._cache.parked for event in batch.events)

    def _known(self, error: BaseException) -> BaseException:
        known = self._context.database.translate_error(error)
        if known is None:
            return error
        known.__cause__ = error
        return known

    async def _park(self, batch: Batch, error: BaseException, attempts: int = 1) -> None:
        """Park the stream of an event that fails alone, in the transaction that moves past it."""
        (event,) = batch.events
        parked = parked_by(self._projection, event, error, attempts)
        async with self._transactions.begin() as tx:
            moved = await self._store.advance(tx.db_tx, batch.moves(self._cache.checkpoints, failed=event.stream))
            by_partition = {each.partition: each for each in moved}
            mine = by_partition[batch.partition_of(event)]
            by_partition[mine.partition] = await self._store.park(tx.db_tx, mine, parked)
            crash_point("projection.before-park-commit")
        crash_point("projection.parked")
        self._cache.checkpoints.update(by_partition)
        self.progress.parked += 1
        _log.warning(
            "%s: stream parked at position %d (%s); other streams continue; it %s%s",
            self._title,
            event.position,
            describe(error),
            "waits for an operator" if parked.retry_seconds is None else f"is retried in {parked.retry_seconds:.1f} s",
            self._context.failures.traceback(error),
        )
        await self._cache.reload(event.stream)
        await self._pause_where_too_many()

    async def _pause_where_too_many(self) -> None:
        """Pause the generation if more than `parked_max` streams are parked: then the code is probably wrong."""
        name, number = self._projection.name, self._cache.generation.number
        count = (await self._store.count_parked()).get((name, number), 0)
        if count <= self._projection.parked_max:
            return
        reason = f"{count} streams are parked, more than parked_max: the code is probably wrong, not the data"
        async with self._context.database.begin() as db_tx:
            await self._store.pause(db_tx, name, number, reason=reason, actor=self._name)
            crash_point("projection.before-pause-commit")
        text = "%s: paused itself, %d streams are parked, more than parked_max; it waits until an operator resumes it"
        _log.error(text, self._title, count)
        raise ConcurrencyConflict(
            f"projection '{name}' has paused itself", hint="look at the parked streams, then resume"
        )


class CheckpointCache:
    """A generation's checkpoints, parked streams and pauses as they were last read. Each write is compared with the
    checkpoints, so an old value does no harm.

    checkpoints  by partition, those that are held here; empty if everything must be read again.
    parked       the parked streams of these partitions, by name.
    """

    def __init__(self, generation: Generation, store: CheckpointStore, clock: Clock) -> None:
        self.generation = generation
        self.checkpoints: dict[int, Checkpoint] = {}
        self.parked: dict[str, ParkedStream] = {}
        self.paused = False
        self.retired = False
        self._due: dict[str, float] = {}
        self._store = store
        self._clock = clock

    async def load(self, held: Collection[int]) -> None:
        """Read everything again; the checkpoints first, because later changes increase their revision."""
        name, number = self.generation.projection, self.generation.number
        found = await self._store.checkpoints(name, number)
        self.retired = not found or found[0].state is GenerationState.RETIRED
        self.checkpoints = {each.partition: each for each in found if each.partition in held}
        self.parked, self._due = {}, {}
        for parked in await self._store.parked(name, number, limit=PARKED_READ_MAX):
            if parked.partition in held:
                self._note(parked)
        pauses = await self._store.pauses(name)
        self.paused = any(pause.generation in {ALL_GENERATIONS, number} for pause in pauses)

    async def reload(self, stream: str) -> None:
        """Read whether a stream is parked."""
        self.parked.pop(stream, None)
        self._due.pop(stream, None)
        for parked in await self._store.parked(self.generation.projection, self.generation.number, stream=stream):
            self._note(parked)

    def due(self, limit: int) -> list[ParkedStream]:
        """Parked streams that are due for a retry."""
        now = self._clock.monotonic()
        return [self.parked[stream] for stream, at in self._due.items() if at <= now][:limit]

    def seconds_to_due(self) -> float | None:
        """The time until the next one is due; None if there is none."""
        if not self._due or self.paused:
            return None
        return max(0.0, min(self._due.values()) - self._clock.monotonic())

    def _note(self, parked: ParkedStream) -> None:
        self.parked[parked.stream] = parked
        if parked.due_seconds is not None:
            self._due[parked.stream] = self._clock.monotonic() + parked.due_seconds
