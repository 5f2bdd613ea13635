"""The loop that keeps one generation of a projection up to date. Pattern: imports the ports, the transaction and its
package.

A batch is one transaction: the checkpoints move first, by compare and set, so that whoever was overtaken stops there;
then the handlers run; then all of it commits, or nothing. A batch that fails is divided until the failing event stands
alone; that one parks its stream. Errors that say nothing of the events (the database is away, a conflict) park nothing:
the batch comes again. After a crash it processes one event at a time: see
`freehold.projection.crash_recovery`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from freehold.errors import ConcurrencyConflict
from freehold.eventstore.store import EventStore
from freehold.lifecycle import Runner
from freehold.projection.batch import HandlerInvoker, read_batch
from freehold.projection.batch_commit import BatchProcessor, CheckpointCache, Progress
from freehold.projection.crash_recovery import CrashRecovery, isolation_lock
from freehold.projection.declaration import Projection
from freehold.projection.parked_stream import ParkedStreamRetrier
from freehold.projection.store import Checkpoint, CheckpointStore, Generation, GenerationState
from freehold.transaction import Transactions

__all__ = ["GenerationRunner", "Progress"]

_log = logging.getLogger("freehold.projection")
_CONFLICTS_MAX: Final = 5
_RETRIES_A_ROUND: Final = 10


class GenerationRunner(Runner):
    """Works on the partitions of a generation that are held here, until it is stopped or the generation is retired.

    held   names the partitions whose lease this process holds, read again before each round.
    head   how far the event store is settled, as far as is known here: nothing is read where all have come there.
    live   the number of the generation that is live, which a building one does not pass; None where there is none.
    moved  is told after each batch: the building generation waits for the live one, whoever waits for a token too.
    """

    def __init__(
        self,
        generation: Generation,
        projection: Projection,
        transactions: Transactions,
        events: EventStore,
        checkpoints: CheckpointStore,
        retrier: ParkedStreamRetrier,
        *,
        held: Callable[[], Collection[int]],
        head: Callable[[], int],
        live: Callable[[], int | None] = lambda: None,
        moved: Callable[[], None] = lambda: None,
        poll_seconds: float = 1.0,
        batch_timeout_seconds: float = 30.0,
    ) -> None:
        super().__init__(f"projection {projection.name} g{generation.number}", clock=transactions.context.clock)
        self.generation = generation
        self._projection = projection
        self._events = events
        self._store = checkpoints
        self._retrier = retrier
        self._held = held
        self._head = head
        self._live = live
        self._moved = moved
        self._poll_seconds = poll_seconds
        self._event_filter = projection.event_filter
        self._conflicts = 0
        self._round_lock = asyncio.Lock()
        self._others_first_through = 0
        self._cache = CheckpointCache(generation, checkpoints, transactions.context.clock)
        self._recovery = CrashRecovery(projection.batch_limit)
        self._processor = BatchProcessor(
            self.name,
            projection,
            transactions,
            checkpoints,
            self._cache,
            self._recovery,
            batch_timeout_seconds=batch_timeout_seconds,
        )

    @property
    def invoker(self) -> HandlerInvoker:
        """What calls the handlers."""
        return self._processor.invoker

    @property
    def progress(self) -> Progress:
        """What has happened here since the start."""
        return self._processor.progress

    @property
    def retired(self) -> bool:
        """Whether there is nothing to do any more."""
        return self._cache.retired

    @property
    def complete(self) -> bool:
        """As `retired`: the loop ends by itself."""
        return self.retired

    @property
    def notice(self) -> str:
        """That it was paused: by an operator, or by itself where too many streams are parked."""
        return "paused" if self._cache.paused else ""

    @property
    def pending_correction(self) -> str:
        """The attempts that an outage ended, and that are counted still."""
        return " and ".join(filter(None, (self._processor.pending_correction, self._retrier.pending_correction)))

    async def release(self) -> None:
        """Uncount attempts that prove nothing."""
        await self._processor.uncount()
        await self._retrier.uncount()

    async def run(self) -> None:
        """Apply events until stopped or retired."""
        self._cache.checkpoints.clear()
        while not (self.stopping or self.retired):
            async with self._round_lock:
                busy = await self._round()
            self.healthy()
            if not busy:
                due_seconds = self._cache.seconds_to_due()
                await self.wait(self._poll_seconds if due_seconds is None else min(self._poll_seconds, due_seconds))

    async def finish_round(self, names: Collection[str] = ()) -> None:
        """Return when no round is in progress: for whoever gives leases back."""
        async with self._round_lock:
            return

    async def _round(self) -> bool:
        """Do what there is to do; false where there was nothing."""
        try:
            busy = await self._work()
        except ConcurrencyConflict:
            self.progress.conflicts += 1
            self._conflicts += 1
            if self._conflicts > _CONFLICTS_MAX:
                self._look_closer()
                self._cache.checkpoints.clear()
                raise
            self._cache.checkpoints.clear()
            return True
        except BaseException:
            self._cache.checkpoints.clear()
            raise
        self._conflicts = 0
        return busy

    def _look_closer(self) -> None:
        """Go event by event where handlers meet conflicts again and again: one event alone may be in its own way."""
        if self._processor.handling:
            for partition in self._cache.checkpoints:
                self._recovery.isolate(partition)

    async def _work(self) -> bool:
        held = set(self._held())
        if self._cache.paused or held != set(self._cache.checkpoints) or self._became_live():
            await self._load(held)
        if self._cache.paused or self.retired or not self._cache.checkpoints:
            return False
        # Followed first: a parked stream that crashes the process when it is retried keeps nobody else from moving.
        followed = await self._follow()
        return await self._retry_due() or followed

    async def _load(self, held: Collection[int]) -> None:
        await self._cache.load(held)
        if self._cache.paused or self.retired:
            return
        interrupted = self._recovery.refresh(self._cache.checkpoints.values())
        if interrupted:
            self._others_first_through = self._head()
        for partition in interrupted:
            seen = self._cache.checkpoints[partition]
            _log.warning(
                "%s: partition %d: previous runner crashed at position %d; processing one event at a time",
                self.outages.titled(self.name),
                partition,
                seen.position,
            )

    def _became_live(self) -> bool:
        """Whether it was switched to since it was looked at: its own checkpoints would hold it back for good."""
        building = any(each.state is GenerationState.BUILDING for each in self._cache.checkpoints.values())
        return building and self._live() == self.generation.number

    async def _follow(self) -> bool:
        caps = await self._caps()
        head = self._head()
        behind = [
            p for p, each in self._cache.checkpoints.items() if each.position < (head if caps is None else caps[p])
        ]
        if not behind:
            return False
        new = self._recovery.unmarked(self._cache.checkpoints[partition] for partition in behind)
        if new:
            await self._processor.begin(new)
        if not self._recovery.partitions:
            return await self._follow_in_batches(self._cache.checkpoints, caps)
        trusted = {p: each for p, each in self._cache.checkpoints.items() if p not in self._recovery.partitions}
        moved = bool(trusted) and await self._follow_in_batches(trusted, caps)
        catching_up = moved and any(
            self._cache.checkpoints[partition].position < self._others_first_through for partition in trusted
        )
        return await self._follow_one_by_one(caps, suspects=not catching_up) or moved

    async def _follow_in_batches(self, seen: Mapping[int, Checkpoint], caps: Mapping[int, int] | None) -> bool:
        limit = self._projection.batch_limit
        batch = await read_batch(self._events, self._event_filter, self.generation.partitions, seen, limit, caps)
        if all(through <= seen[partition].position for partition, through in batch.through.items()):
            return False
        await self._processor.apply(batch)
        self._moved()
        return True

    async def _follow_one_by_one(self, caps: Mapping[int, int] | None, *, suspects: bool) -> bool:
        """One event of each isolated partition; last that which has been tried most often, it may be the one.

        Without `suspects`, an event that was handled in isolation when a process crashed waits.
        """
        moved = False
        for partition in sorted(self._recovery.partitions, key=lambda p: self._cache.checkpoints[p].isolated_attempts):
            seen = self._cache.checkpoints[partition]
            if seen.isolated_position > seen.position and not suspects:
                continue
            batch = await read_batch(
                self._events, self._event_filter, self.generation.partitions, {partition: seen}, 1, caps
            )
            if batch.through.get(partition, seen.position) <= seen.position:
                self._recovery.advance(partition, end=True)
                continue
            await self._processor.apply_isolated(batch)
            end = self._head() if caps is None else caps[partition]
            if batch.events or batch.through[partition] >= end:
                self._recovery.advance(partition, end=not batch.events)
            self._moved()
            moved = True
        return moved

    async def _caps(self) -> Mapping[int, int] | None:
        """Where the live generation stands, for one that is building: no side effect falls between the two then."""
        live = self._live()
        if next(iter(self._cache.checkpoints.values())).state is not GenerationState.BUILDING or live is None:
            return None
        found = await self._store.checkpoints(self._projection.name, live)
        if not found:
            return None
        if len(found) == self.generation.partitions:
            return {each.partition: each.position for each in found}
        return dict.fromkeys(range(self.generation.partitions), min(each.position for each in found))

    async def _retry_due(self) -> bool:
        """Retry parked streams that are due."""
        due = self._cache.due(_RETRIES_A_ROUND)
        for parked in due:
            async with isolation_lock():
                outcome = await self._retrier.retry(parked)
            if outcome.released:
                name = self.outages.titled(self.name)
                _log.info("%s: a parked stream is resumed, %d events applied", name, outcome.applied)
        if due:
            await self._load(set(self._held()))
            self._moved()
        return bool(due)
