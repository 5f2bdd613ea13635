"""Parked streams: why one stands still, trying it again, going on without its poison event. Imports the ports, the
transaction and its package.

A stream is parked from an event on; its later events are passed over, while the checkpoint goes on for all others.
Whoever takes it up again applies what was passed over, through the checkpoint, in one transaction that holds the
checkpoint: then no batch moves meanwhile, and the runner notices that the stream goes on (the revision moves).
"""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass
from typing import Final

from freehold.audit.store import AuditEntry, AuditStore
from freehold.errors import ConcurrencyConflict, FreeholdError, NotFound, OperationTimeout, Unavailable
from freehold.eventstore.store import EventStore, RecordedEvent, category_of
from freehold.policy import RetryAfter
from freehold.projection.batch import Applier
from freehold.projection.declaration import Projection
from freehold.projection.store import Checkpoint, CheckpointStore, GenerationState, Move, NewParkedKey, ParkedKey
from freehold.transaction import Post, Transaction

__all__ = ["Parking", "TakenUp", "describe", "is_transient", "parked_by"]

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class TakenUp:
    """What came of taking a stream up again: events applied, and the failure that keeps it parked, if there is one."""

    applied: int
    parked: NewParkedKey | None = None

    @property
    def released(self) -> bool:
        """Whether the stream goes on."""
        return self.parked is None


class _Failed(Exception):
    def __init__(self, event: RecordedEvent, error: Exception) -> None:
        self.event = event
        self.error = error


class Parking:
    """The parked streams of a projection, for its runner and for people. Writes to the audit what a person did.

    An event that takes longer than `event_timeout_seconds`, or a statement of it longer than the database's limit,
    keeps its stream parked: trying again must not hold up all others.
    """

    def __init__(
        self,
        projection: Projection,
        post: Post,
        events: EventStore,
        checkpoints: CheckpointStore,
        audit: AuditStore,
        *,
        event_timeout_seconds: float = 30.0,
    ) -> None:
        self._projection = projection
        self._post = post
        self._events = events
        self._checkpoints = checkpoints
        self._audit = audit
        self._types = projection.types
        self._event_timeout_seconds = event_timeout_seconds

    async def resume(self, generation: int, stream: str, *, actor: str, reason: str) -> TakenUp:
        """Try a stream again now, for a person. Raises `NotFound` where it is not parked, `Unavailable`,
        `ConcurrencyConflict`; a handler that fails keeps it parked.
        """
        return await self._by_hand("projection resume", generation, stream, actor=actor, reason=reason, skip=False)

    async def skip(self, generation: int, stream: str, *, actor: str, reason: str) -> TakenUp:
        """Pass over the event that a stream is parked at, and go on behind it. What the event said is then missing from
        this generation. Raises as `resume` does.
        """
        return await self._by_hand("projection skip", generation, stream, actor=actor, reason=reason, skip=True)

    async def retry(self, parked: ParkedKey) -> TakenUp:
        """Try a stream again because it is due."""
        return await self._take_up(parked, skip=False, entry=None)

    async def _by_hand(
        self, action: str, generation: int, stream: str, *, actor: str, reason: str, skip: bool
    ) -> TakenUp:
        name = self._projection.name
        found = await self._checkpoints.parked(name, generation, stream=stream)
        if not found:
            raise NotFound(
                f"stream '{stream}' is not parked in generation {generation} of projection '{name}'",
                hint="list what is parked: it may have gone on by itself",
            )
        position = found[0].position
        subject = f"{name}/{generation}/{stream}@{position}"
        entry = AuditEntry(at=self._post.clock.now(), actor=actor, action=action, subject=subject, reason=reason)
        return await self._take_up(found[0], skip=skip, entry=entry)

    async def _take_up(self, parked: ParkedKey, *, skip: bool, entry: AuditEntry | None) -> TakenUp:
        try:
            return await self._apply(parked, skip=skip, entry=entry)
        except _Failed as failed:
            return await self._keep_parked(parked, failed, skip=skip, entry=entry)

    async def _apply(self, parked: ParkedKey, *, skip: bool, entry: AuditEntry | None) -> TakenUp:
        async with self._post.transaction() as tx:
            seen = await self._held(tx, parked)
            after = parked.version if skip else parked.version - 1
            applied = await self._through(tx, parked, seen, after)
            (seen,) = await self._checkpoints.advance(tx.unit, [Move(seen, seen.position, handled=applied)])
            await self._checkpoints.release(tx.unit, seen, parked.stream)
            if entry is not None:
                await self._audit.add(tx.unit, entry)
        return TakenUp(applied)

    async def _keep_parked(
        self, parked: ParkedKey, failed: _Failed, *, skip: bool, entry: AuditEntry | None
    ) -> TakenUp:
        """Apply what stands before the failing event, and park the stream at that one."""
        while True:
            try:
                return await self._park_at(parked, failed, skip=skip, entry=entry)
            except _Failed as earlier:
                failed = earlier

    async def _park_at(self, parked: ParkedKey, failed: _Failed, *, skip: bool, entry: AuditEntry | None) -> TakenUp:
        event = failed.event
        attempts = parked.attempts + 1 if event.version == parked.version else 1
        again = parked_by(self._projection, event, failed.error, attempts)
        async with self._post.transaction() as tx:
            seen = await self._held(tx, parked)
            after = parked.version if skip else parked.version - 1
            applied = await self._through(tx, parked, seen, after, before=event.version)
            (seen,) = await self._checkpoints.advance(tx.unit, [Move(seen, seen.position, handled=applied, failed=1)])
            await self._checkpoints.park(tx.unit, seen, again)
            if entry is not None:
                await self._audit.add(tx.unit, entry)
        return TakenUp(applied, again)

    async def _held(self, tx: Transaction, parked: ParkedKey) -> Checkpoint:
        """Hold the checkpoint, and see that the stream still is as it was."""
        place = (parked.projection, parked.generation, parked.partition)
        found = await self._checkpoints.lock(tx.unit, *place)
        now = await self._checkpoints.parked(*place, stream=parked.stream, unit=tx.unit)
        same = bool(now) and (now[0].version, now[0].attempts) == (parked.version, parked.attempts)
        if not found or not same or found[0].state is GenerationState.RETIRED:
            raise ConcurrencyConflict(
                f"stream '{parked.stream}' of projection '{parked.projection}' was taken up by somebody else",
                hint="list what is parked",
            )
        return found[0]

    async def _through(
        self, tx: Transaction, parked: ParkedKey, seen: Checkpoint, after: int, before: int | None = None
    ) -> int:
        """Apply a stream's events through the checkpoint, or to the event `before` which it is to stay parked."""
        applied = 0
        applier = Applier(self._projection, self._post.service, parked.generation)
        while True:
            page = await self._events.read_stream(parked.stream, after=after, before=before, limit=_PAGE, unit=tx.unit)
            due = [event for event in page if event.position <= seen.position]
            for event in due:
                if self._follows(event):
                    await self._one(applier, tx, event, seen)
                    applied += 1
            if len(due) < _PAGE:
                return applied
            after = due[-1].version

    async def _one(self, applier: Applier, tx: Transaction, event: RecordedEvent, seen: Checkpoint) -> None:
        try:
            async with asyncio.timeout(self._event_timeout_seconds):
                await applier.sink([event])
                await applier.apply(tx, [event], seen.state)
        except Exception as error:
            known = self._post.database.diagnose(error) or error
            if is_transient(known) and not isinstance(known, OperationTimeout):
                raise
            raise _Failed(event, known) from error

    def _follows(self, event: RecordedEvent) -> bool:
        categories = self._projection.categories
        return event.event.type in self._types and (not categories or category_of(event.stream) in categories)


def parked_by(projection: Projection, event: RecordedEvent, error: Exception, attempts: int) -> NewParkedKey:
    """What is kept of a stream whose event has failed so many times."""
    decision = projection.retry.decide(attempts, error)
    return NewParkedKey(
        stream=event.stream,
        position=event.position,
        version=event.version,
        event_id=event.event.id,
        type=event.event.type,
        error=type(error).__name__,
        detail=describe(error),
        attempts=attempts,
        retry_seconds=decision.delay_seconds if isinstance(decision, RetryAfter) else None,
    )


def describe(error: BaseException) -> str:
    """Freehold's own text; of other errors the place, since a text may hold content."""
    if isinstance(error, FreeholdError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    return f"{type(error).__name__} in {frames[-1].name}, {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}"


def is_transient(error: BaseException) -> bool:
    """Whether an error says nothing of the event: the database is away, or somebody changed the same thing first."""
    return isinstance(error, (Unavailable, ConcurrencyConflict))
