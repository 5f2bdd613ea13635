"""The runner that keeps one generation of a projection up to date. Pattern: imports the ports, the transaction and its
package.

A batch is one transaction: the checkpoints move first, by compare-and-set, so that a runner that was overtaken stops
there; then the handlers run; then everything commits, or nothing. A batch that fails is divided until the failing event
is alone; that one parks its stream. After an error that is not due to an event (an outage of the database, a conflict)
the batch is repeated. After a crash it processes one event at a time: see `freehold.projection.crash_recovery`.
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
    """Applies events to the partitions of a generation that are held here, until it is stopped or the generation is
    retired.

    held   returns the partitions whose lease this process holds; called before each round.
    head   returns the event store's high-water mark, as far as it is known here: nothing is read beyond it.
    live   returns the number of the live generation, which a building one does not pass; None if there is none.
    moved  is called after each batch, for a building generation and for reads that wait.
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
        """The invoker of the handlers."""
        return self._processor.invoker

    @property
    def progress(self) -> Progress:
        """Counts since the start of this runner."""
        return self._processor.progress

    @property
    def retired(self) -> bool:
        """Whether the generation is retired, so that nothing is left to do."""
        return self._cache.retired

    @property
    def complete(self) -> bool:
        """As `retired`: the loop ends by itself."""
        return self.retired

    @property
    def notice(self) -> str:
        """Whether it is paused: by an operator, or by itself because too many streams are parked."""
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
        """Return when no round is in progress, so that leases can be released."""
        async with self._round_lock:
            return

    async def _round(self) -> bool:
        """Do the work that there is; False if there was none."""
        try:
            busy = await self._work()
        except ConcurrencyConflict:
            self.progress.conflicts += 1
            self._conflicts += 1
            if self._conflicts > _CONFLICTS_MAX:
                self._isolate_all()
                self._cache.checkpoints.clear()
                raise
            self._cache.checkpoints.clear()
            return True
        except BaseException:
            self._cache.checkpoints.clear()
            raise
        self._conflicts = 0
        return busy

    def _isolate_all(self) -> None:
        """Process one event at a time if handlers met conflicts several times: an event may conflict with itself."""
        if self._processor.handling:
            for partition in self._cache.checkpoints:
                self._recovery.isolate(partition)

    async def _work(self) -> bool:
        held = set(self._held())
        if self._cache.paused or held != set(self._cache.checkpoints) or self._became_live():
            await self._load(held)
        if self._cache.paused or self.retired or not self._cache.checkpoints:
            return False
        # Before the retries: a parked stream whose retry crashes the process must not stop the other streams.
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
        """Whether it was made live since it was loaded: it would wait for its own checkpoints otherwise."""
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
        healthy = {p: each for p, each in self._cache.checkpoints.items() if p not in self._recovery.partitions}
        moved = bool(healthy) and await self._follow_in_batches(healthy, caps)
        catching_up = moved and any(
            self._cache.checkpoints[partition].position < self._others_first_through for partition in healthy
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
        """Process one event of each isolated partition; last the one that was started most often, which may crash.

        Without `suspects`, an event that was being handled in isolation when a process crashed is not started.
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
        """The positions of the live generation, which a building one does not pass: so no side effect is lost."""
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
        """Retry the parked streams that are due."""
        due = self._cache.due(_RETRIES_A_ROUND)
        for parked in due:
            async with isolation_lock():
                outcome = await self._retrier.retry(parked)
            if outcome.released:
                name = self.outages.titled(self.name)
                _log.info("%s: a parked stream is released, %d events applied", name, outcome.applied)
        if due:
            await self._load(set(self._held()))
            self._moved()
        return bool(due)
