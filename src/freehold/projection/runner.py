"""The loop that keeps one generation of a projection up to date. Pattern: imports the ports, the transaction and its
package.

A batch is one transaction: the checkpoints move first, by compare and set, so that whoever was overtaken stops there;
then the handlers run; then all of it commits, or nothing. A batch that fails is divided until the failing event stands
alone; that one parks its stream. Errors that say nothing of the events (the database is away, a conflict) park nothing:
the batch comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from freehold.errors import ConcurrencyConflict, OperationTimeout
from freehold.eventstore.store import EventStore
from freehold.lifecycle import Runner
from freehold.projection.batch import Applier, Batch, read_batch, wanted_by
from freehold.projection.declaration import Projection
from freehold.projection.parking import Parking, is_transient, parked_by
from freehold.projection.store import (
    ALL_GENERATIONS,
    Checkpoint,
    CheckpointStore,
    Generation,
    GenerationState,
    ParkedKey,
)
from freehold.transaction import Post

__all__ = ["GenerationRunner", "Progress"]

_log = logging.getLogger("freehold.projection")
_CONFLICTS_MAX: Final = 5
_RETRIES_A_ROUND: Final = 10
_PARKED_READ_MAX: Final = 100_000
"""All of them: a parked stream that is not known would be gone on with. `parked_max` keeps them few."""


@dataclass(slots=True)
class Progress:
    """What has happened here since the start."""

    batches: int = 0
    events: int = 0
    parked: int = 0
    conflicts: int = 0


class GenerationRunner(Runner):
    """Works on the partitions of a generation that are held here, until it is stopped or the generation is retired.

    held      names the partitions whose lease this process holds, read anew before each round.
    head      how far the event store is settled, as far as it is known here: nothing is read where all have come there.
    live      the number of the generation that is live, which a building one does not pass; None where there is none.
    moved     is told after each batch: the building generation waits for the live one, whoever waits for a token too.
    """

    def __init__(
        self,
        generation: Generation,
        projection: Projection,
        post: Post,
        events: EventStore,
        checkpoints: CheckpointStore,
        parking: Parking,
        *,
        held: Callable[[], Collection[int]],
        head: Callable[[], int],
        live: Callable[[], int | None] = lambda: None,
        moved: Callable[[], None] = lambda: None,
        poll_seconds: float = 1.0,
        batch_timeout_seconds: float = 30.0,
    ) -> None:
        super().__init__(f"projection {projection.name} g{generation.number}", clock=post.clock)
        self.generation = generation
        self.progress = Progress()
        self.retired = False
        self.applier = Applier(projection, post.service, generation.number)
        self._projection = projection
        self._post = post
        self._events = events
        self._store = checkpoints
        self._parking = parking
        self._held = held
        self._head = head
        self._live = live
        self._moved = moved
        self._poll_seconds = poll_seconds
        self._batch_timeout_seconds = batch_timeout_seconds
        self._wanted = wanted_by(projection)
        self._seen: dict[int, Checkpoint] = {}
        self._parked: dict[str, ParkedKey] = {}
        self._due: dict[str, float] = {}
        self._paused = False
        self._conflicts = 0
        self._round_lock = asyncio.Lock()

    async def run(self) -> None:
        """Apply events until stopped or retired."""
        self._seen.clear()
        while not (self.stopping or self.retired):
            async with self._round_lock:
                busy = await self._round()
            self.healthy()
            if not busy:
                await self.wait(self._idle_seconds())

    async def finish_round(self, names: Collection[str] = ()) -> None:
        """Return when no round is under way: for whoever gives leases back."""
        async with self._round_lock:
            return

    async def _round(self) -> bool:
        """Do what there is to do; false where there was nothing."""
        try:
            busy = await self._work()
        except ConcurrencyConflict:
            self._seen.clear()
            self.progress.conflicts += 1
            self._conflicts += 1
            if self._conflicts > _CONFLICTS_MAX:
                raise
            return True
        except BaseException:
            self._seen.clear()
            raise
        self._conflicts = 0
        return busy

    async def _work(self) -> bool:
        held = set(self._held())
        if self._paused or held != set(self._seen) or self._became_live():
            await self._load(held)
        if self._paused or self.retired or not self._seen:
            return False
        retried = await self._retry_due()
        return await self._follow() or retried

    async def _load(self, held: Collection[int]) -> None:
        """Look at everything anew; the checkpoints first, whose revisions tell of what changes after."""
        name, number = self._projection.name, self.generation.number
        found = await self._store.checkpoints(name, number)
        self.retired = not found or found[0].state is GenerationState.RETIRED
        self._seen = {each.partition: each for each in found if each.partition in held}
        self._parked, self._due = {}, {}
        for parked in await self._store.parked(name, number, limit=_PARKED_READ_MAX):
            if parked.partition in held:
                self._note(parked)
        pauses = await self._store.pauses(name)
        self._paused = any(pause.generation in {ALL_GENERATIONS, number} for pause in pauses)

    def _became_live(self) -> bool:
        """Whether it was switched to since it was looked at: its own checkpoints would hold it back for good."""
        building = any(each.state is GenerationState.BUILDING for each in self._seen.values())
        return building and self._live() == self.generation.number

    def _note(self, parked: ParkedKey) -> None:
        self._parked[parked.stream] = parked
        self._due.pop(parked.stream, None)
        if parked.due_seconds is not None:
            self._due[parked.stream] = self.clock.monotonic() + parked.due_seconds

    def _idle_seconds(self) -> float:
        if not self._due or self._paused:
            return self._poll_seconds
        return max(0.0, min(self._poll_seconds, min(self._due.values()) - self.clock.monotonic()))

    async def _follow(self) -> bool:
        caps = await self._caps()
        head = self._head()
        if all(each.position >= (head if caps is None else caps[p]) for p, each in self._seen.items()):
            return False
        limit = self._projection.batch_limit
        partitions = self.generation.partitions
        batch = await read_batch(self._events, self._wanted, partitions, self._seen, limit, caps)
        if all(through <= self._seen[partition].position for partition, through in batch.through.items()):
            return False
        await self._apply(batch)
        self._moved()
        return True

    async def _caps(self) -> Mapping[int, int] | None:
        """Where the live generation stands, for one that is building: no side effect falls between the two then."""
        live = self._live()
        if next(iter(self._seen.values())).state is not GenerationState.BUILDING or live is None:
            return None
        found = await self._store.checkpoints(self._projection.name, live)
        if not found:
            return None
        if len(found) == self.generation.partitions:
            return {each.partition: each.position for each in found}
        return dict.fromkeys(range(self.generation.partitions), min(each.position for each in found))

    async def _apply(self, batch: Batch) -> None:
        """Apply a batch, or its parts where it fails; in the end everything is applied or parked."""
        try:
            await self._commit(batch)
        except Exception as error:
            known = self._post.database.diagnose(error) or error
            # A statement that ran too long may have had too much to do; alone, an event is not to blame for it.
            too_much = isinstance(known, OperationTimeout) and len(batch.events) > 1
            # Of a stream that is parked already nothing was tried: to park it here would lose what it waits at.
            tried = any(event.stream not in self._parked for event in batch.events)
            if not tried or (is_transient(known) and not too_much):
                raise
            if len(batch.events) == 1:
                await self._park(batch, known)
                return
            first, second = batch.halves()
            await self._apply(first)
            await self._apply(second)

    async def _commit(self, batch: Batch) -> None:
        events = [event for event in batch.events if event.stream not in self._parked] if self._parked else batch.events
        moves = batch.moves(self._seen, passed_over=self._parked)
        async with asyncio.timeout(self._batch_timeout_seconds):
            await self.applier.sink(events)
            async with self._post.transaction() as tx:
                moved = await self._store.advance(tx.unit, moves)
                if events:
                    await self.applier.apply(tx, events, moved[0].state)
        self._seen.update((each.partition, each) for each in moved)
        self.progress.batches += 1
        self.progress.events += len(events)

    async def _park(self, batch: Batch, error: Exception) -> None:
        """Park the stream of the one event that fails by itself, in the transaction in which it is passed over."""
        (event,) = batch.events
        parked = parked_by(self._projection, event, error, attempts=1)
        async with self._post.transaction() as tx:
            moved = await self._store.advance(tx.unit, batch.moves(self._seen, failed=event.stream))
            by_partition = {each.partition: each for each in moved}
            mine = by_partition[batch.partition_of(event)]
            by_partition[mine.partition] = await self._store.park(tx.unit, mine, parked)
        self._seen.update(by_partition)
        self.progress.parked += 1
        _log.warning(
            "%s: stream parked at position %d (%s), it alone waits", self.name, event.position, type(error).__name__
        )
        await self._look_at_parked(event.stream)

    async def _look_at_parked(self, stream: str) -> None:
        """Read what is known of a stream now, and pause where too many are parked: it is the code then."""
        name, number = self._projection.name, self.generation.number
        self._parked.pop(stream, None)
        self._due.pop(stream, None)
        for parked in await self._store.parked(name, number, stream=stream):
            self._note(parked)
        count = (await self._store.count_parked()).get((name, number), 0)
        if count <= self._projection.parked_max:
            return
        reason = f"{count} streams are parked, more than parked_max: this looks like the code, not the data"
        async with self._post.database.begin() as unit:
            await self._store.pause(unit, name, number, reason=reason, actor=self.name)
        _log.error("%s: paused itself, %d streams are parked", self.name, count)
        raise ConcurrencyConflict(f"projection '{name}' has paused itself", hint="see the parked streams, then resume")

    async def _retry_due(self) -> bool:
        """Try parked streams again whose time has come."""
        now = self.clock.monotonic()
        due = [stream for stream, at in self._due.items() if at <= now][:_RETRIES_A_ROUND]
        for stream in due:
            outcome = await self._parking.retry(self._parked[stream])
            if outcome.released:
                _log.info("%s: a parked stream goes on, %d events applied", self.name, outcome.applied)
        if due:
            await self._load(set(self._held()))
            self._moved()
        return bool(due)
