"""Retrying a parked stream: in one transaction, or event by event after a crash; and skipping the event at which it is
parked.

Imports the ports, the transaction and its package.

A stream is parked from one event on. Its later events are left out, while the checkpoint moves on for all others. A
retry applies the events that were left out, through the checkpoint, in one transaction that holds the checkpoint: so no
batch moves meanwhile, and the release increases the revision, by which the runner notices it.

A retry detects a crash of the one before it:

1. In a transaction of its own it records that it starts (`started_attempts`). Until its outcome is known, operators see
   the stream as retrying.
2. The outcome removes the record.
3. If a retry finds the record, there was no outcome: the process has crashed. It then applies event by event, each in a
   transaction that also moves the parked stream to the next event. So the stream is left at the event that crashes.
4. A stream that was started as often as `CrashLimit` says, without an outcome, waits for an operator.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from freehold.audit.store import AuditEntry, AuditStore
from freehold.crash_points import crash_point
from freehold.database import DatabaseTransaction
from freehold.errors import ConcurrencyConflict, FreeholdError, NotFound, OperationTimeout
from freehold.eventstore.store import EventStore, RecordedEvent
from freehold.failures import CrashLimit, ProcessCrashed, describe
from freehold.projection.batch import HandlerInvoker
from freehold.projection.declaration import Projection
from freehold.projection.parking_policy import CRASH_HINT, again_seconds, is_transient, parked_by
from freehold.projection.store import (
    Checkpoint,
    CheckpointStore,
    GenerationState,
    Move,
    ParkedStream,
    ParkedStreamUpdate,
)
from freehold.projection.tables import PlacedTables
from freehold.transaction import Transaction, Transactions

__all__ = ["ParkedStreamRetrier", "RetryResult"]

_PAGE: Final = 500
_RESTORE_SECONDS: Final = 2.0
_CRASHED: Final = ProcessCrashed(
    "the process crashed while this event, or a later one of its stream, was retried", hint="fix the crash"
)


@dataclass(frozen=True, slots=True)
class RetryResult:
    """The outcome of a retry: how many events were applied, and the failure that keeps the stream parked, if any."""

    applied: int
    parked: ParkedStreamUpdate | None = None

    @property
    def released(self) -> bool:
        """Whether the stream is not parked any more."""
        return self.parked is None


class _Failed(Exception):
    def __init__(self, event: RecordedEvent, error: Exception) -> None:
        self.event = event
        self.error = error


class ParkedStreamRetrier:
    """Retries the parked streams of a projection, for its runner and for operators. An operator's action is written to
    the audit table.

    An event that takes longer than `event_timeout_seconds`, or a statement that reaches the database's limit, keeps its
    stream parked: a retry must not block the other streams.
    """

    def __init__(
        self,
        projection: Projection,
        transactions: Transactions,
        events: EventStore,
        checkpoints: CheckpointStore,
        audit: AuditStore,
        *,
        event_timeout_seconds: float = 30.0,
    ) -> None:
        self._projection = projection
        self._transactions = transactions
        self._context = transactions.context
        self._events = events
        self._checkpoints = checkpoints
        self._audit = audit
        self._event_filter = projection.event_filter
        self._event_timeout_seconds = event_timeout_seconds
        self._to_uncount: dict[tuple[int, str], tuple[ParkedStream, ParkedStream]] = {}

    async def retry(self, parked: ParkedStream) -> RetryResult:
        """Retry a due stream. Raises `ConcurrencyConflict` if it has changed since it was read, `Unavailable`."""
        return await self._retry(parked, skip=False, entry=None)

    async def retry_now(self, generation: int, stream: str, *, actor: str, reason: str) -> RetryResult:
        """Retry a stream now, for an operator; a handler that fails keeps it parked. Raises `NotFound` if it is not
        parked, `ConcurrencyConflict`, `Unavailable`.
        """
        return await self._for_operator(
            "projection.stream-retry", generation, stream, actor=actor, reason=reason, skip=False
        )

    async def skip(self, generation: int, stream: str, *, actor: str, reason: str) -> RetryResult:
        """Skip the event at which a stream is parked, and continue after it: this generation then lacks the event.
        Raises as `retry_now`.
        """
        return await self._for_operator(
            "projection.stream-skip", generation, stream, actor=actor, reason=reason, skip=True
        )

    @property
    def pending_correction(self) -> str:
        """The attempts that prove nothing and are counted still, because the database was away."""
        return f"the count of attempts of {len(self._to_uncount)} parked streams" if self._to_uncount else ""

    async def uncount(self) -> None:
        """Uncount attempts that prove nothing. Raises `Unavailable`."""
        for key, (noted, _) in list(self._to_uncount.items()):
            with suppress(ConcurrencyConflict):  # another process has retried it since
                await self._uncounted(noted)
            self._to_uncount.pop(key, None)

    async def _retry(self, parked: ParkedStream, *, skip: bool, entry: AuditEntry | None) -> RetryResult:
        """Apply a stream from its parked event, or from the one after it with `skip`. `entry` is the audit entry of an
        operator's action; None if the stream was due.
        """
        parked = await self._uncounted(parked)
        if parked.started_attempts or parked.error == ProcessCrashed.__name__:
            if entry is None and CrashLimit.of(self._projection.retry).reached(parked.started_attempts):
                return await self._give_up(parked)
            return await self._step_by_step(parked, skip=skip, entry=entry)
        noted = await self._note(parked, parked.attempts + (not skip), by_operator=entry is not None)
        try:
            try:
                return await self._apply(noted, skip=skip, entry=entry)
            except _Failed as failed:
                return await self._keep_parked(noted, failed, skip=skip, entry=entry)
        except (Exception, asyncio.CancelledError):
            await self._restore(noted, parked)
            raise

    async def _for_operator(
        self, action: str, generation: int, stream: str, *, actor: str, reason: str, skip: bool
    ) -> RetryResult:
        name = self._projection.name
        found = await self._checkpoints.parked(name, generation, stream=stream)
        if not found:
            raise NotFound(
                f"stream '{stream}' is not parked in generation {generation} of projection '{name}'",
                hint="list the parked streams: it may have been retried by its runner",
            )
        position = found[0].position
        subject = f"{name}/{generation}/{stream}@{position}"
        entry = AuditEntry(at=self._context.clock.now(), actor=actor, action=action, subject=subject, reason=reason)
        return await self._retry(found[0], skip=skip, entry=entry)

    async def _uncounted(self, parked: ParkedStream) -> ParkedStream:
        """The stream, after uncounting an attempt of this process that proved nothing, if that is not done yet."""
        key = parked.generation, parked.stream
        noted, before = self._to_uncount.get(key, (parked, parked))
        if _state(noted) == _state(parked) != _state(before):
            await self._write(noted, before, before.due_seconds)
            parked = before
        self._to_uncount.pop(key, None)
        return parked

    async def _give_up(self, parked: ParkedStream) -> RetryResult:
        crashes = CrashLimit.of(self._projection.retry)
        error = crashes.error(parked.started_attempts, "this stream was retried from here", CRASH_HINT)
        ended = replace(parked, error=ProcessCrashed.__name__, detail=describe(error), started_attempts=0)
        await self._write(parked, ended, None)
        return RetryResult(0, _row(ended, None))

    async def _write(self, seen: ParkedStream, parked: ParkedStream, due_seconds: float | None) -> None:
        async with self._context.database.begin() as db_tx:
            await self._checkpoints.park(db_tx, await self._held(db_tx, seen), _row(parked, due_seconds))

    async def _note(
        self, parked: ParkedStream, attempts: int, *, by_operator: bool, entry: AuditEntry | None = None
    ) -> ParkedStream:
        """Record that a retry starts. One that an operator starts is not repeated by the runner."""
        noted = replace(parked, attempts=attempts, started_attempts=parked.started_attempts + 1)
        due_seconds = None if by_operator else again_seconds(self._projection, attempts)
        async with self._context.database.begin() as db_tx:
            await self._checkpoints.park(db_tx, await self._held(db_tx, parked), _row(noted, due_seconds))
            crash_point("projection.before-retry-note-commit")
            if entry is not None:
                await self._audit.add(db_tx, entry)
        crash_point("projection.retry-noted")
        return noted

    async def _restore(self, noted: ParkedStream, parked: ParkedStream) -> None:
        """Uncount an attempt now, or before the next retry in this process: without a crash it proves nothing."""
        self._to_uncount[noted.generation, noted.stream] = noted, parked
        with suppress(FreeholdError, TimeoutError):
            async with asyncio.timeout(_RESTORE_SECONDS):
                await self._uncounted(noted)

    async def _apply(self, parked: ParkedStream, *, skip: bool, entry: AuditEntry | None) -> RetryResult:
        async with self._transactions.begin() as tx:
            seen = await self._held(tx.db_tx, parked)
            after = parked.version if skip else parked.version - 1
            applied = await self._through(tx, parked, seen, after)
            (seen,) = await self._checkpoints.advance(tx.db_tx, [Move(seen, seen.position, handled=applied)])
            await self._checkpoints.release(tx.db_tx, seen, parked.stream)
            crash_point("projection.before-unpark-commit")
            if entry is not None:
                await self._audit.add(tx.db_tx, entry)
        crash_point("projection.unparked")
        return RetryResult(applied)

    async def _keep_parked(
        self, parked: ParkedStream, failed: _Failed, *, skip: bool, entry: AuditEntry | None
    ) -> RetryResult:
        """Apply the events before the failing one, and park the stream at that one."""
        while True:
            try:
                return await self._park_at(parked, failed, skip=skip, entry=entry)
            except _Failed as earlier:
                failed = earlier

    async def _park_at(
        self, parked: ParkedStream, failed: _Failed, *, skip: bool, entry: AuditEntry | None
    ) -> RetryResult:
        event = failed.event
        attempts = parked.attempts if event.version == parked.version else 1
        again = parked_by(self._projection, event, failed.error, attempts)
        async with self._transactions.begin() as tx:
            seen = await self._held(tx.db_tx, parked)
            after = parked.version if skip else parked.version - 1
            applied = await self._through(tx, parked, seen, after, before=event.version)
            (seen,) = await self._checkpoints.advance(tx.db_tx, [Move(seen, seen.position, handled=applied, failed=1)])
            await self._checkpoints.park(tx.db_tx, seen, again)
            crash_point("projection.before-park-again-commit")
            if entry is not None:
                await self._audit.add(tx.db_tx, entry)
        return RetryResult(applied, again)

    async def _step_by_step(self, parked: ParkedStream, *, skip: bool, entry: AuditEntry | None) -> RetryResult:
        """Apply event by event, so that the stored row always has the event that is in progress."""
        by_operator, applied = entry is not None, 0
        at: ParkedStream | None
        if skip:
            at = await self._step(parked, by_operator=by_operator, entry=entry, skip=True)
        else:
            at = await self._note(parked, parked.attempts + 1, by_operator=by_operator, entry=entry)
        before = parked
        while at is not None:
            current = at
            try:
                at = await self._step(current, by_operator=by_operator)
            except _Failed as failed:
                return RetryResult(applied, await self._fail(current, failed))
            except (Exception, asyncio.CancelledError):
                if current.version != before.version:
                    before = replace(current, attempts=0, started_attempts=0, due_seconds=parked.due_seconds)
                await self._restore(current, before)
                raise
            applied += 1
        return RetryResult(applied)

    async def _step(
        self, at: ParkedStream, *, by_operator: bool, skip: bool = False, entry: AuditEntry | None = None
    ) -> ParkedStream | None:
        """Apply or skip one event, and move the stream to the next one; None if that was the last."""
        async with self._transactions.begin() as tx:
            seen = await self._held(tx.db_tx, at)
            if not skip:
                await self._through(tx, at, seen, at.version - 1, before=at.version + 1)
            (seen,) = await self._checkpoints.advance(tx.db_tx, [Move(seen, seen.position, handled=int(not skip))])
            following = await self._next(tx.db_tx, at, seen)
            if following is None:
                await self._checkpoints.release(tx.db_tx, seen, at.stream)
            else:
                due_seconds = None if by_operator else again_seconds(self._projection, following.attempts)
                await self._checkpoints.park(tx.db_tx, seen, _row(following, due_seconds))
            if entry is not None:
                await self._audit.add(tx.db_tx, entry)
        crash_point("projection.unpark-step-committed")
        return following

    async def _next(self, db_tx: DatabaseTransaction, at: ParkedStream, seen: Checkpoint) -> ParkedStream | None:
        after = at.version
        while True:
            page = await self._events.read_stream(at.stream, after=after, limit=_PAGE, db_tx=db_tx)
            for event in page:
                if event.position > seen.position:
                    return None
                if self._event_filter.wants(event):
                    return replace(
                        at,
                        position=event.position,
                        version=event.version,
                        event_id=event.event.id,
                        type=event.event.type,
                        error=ProcessCrashed.__name__,
                        detail=describe(_CRASHED),
                        attempts=1,
                        started_attempts=1,
                    )
            if len(page) < _PAGE:
                return None
            after = page[-1].version

    async def _fail(self, at: ParkedStream, failed: _Failed) -> ParkedStreamUpdate:
        again = parked_by(self._projection, failed.event, failed.error, at.attempts)
        async with self._context.database.begin() as db_tx:
            seen = await self._held(db_tx, at)
            (seen,) = await self._checkpoints.advance(db_tx, [Move(seen, seen.position, failed=1)])
            await self._checkpoints.park(db_tx, seen, again)
        return again

    async def _held(self, db_tx: DatabaseTransaction, parked: ParkedStream) -> Checkpoint:
        """Lock the checkpoint, and check that the stream has not changed since it was read."""
        place = (parked.projection, parked.generation, parked.partition)
        found = await self._checkpoints.lock(db_tx, *place)
        now = await self._checkpoints.parked(*place, stream=parked.stream, db_tx=db_tx)
        same = bool(now) and _state(now[0]) == _state(parked)
        if not found or not same or found[0].state is GenerationState.RETIRED:
            raise ConcurrencyConflict(
                f"stream '{parked.stream}' of projection '{parked.projection}' was retried by another process",
                hint="list the parked streams",
            )
        return found[0]

    async def _through(
        self, tx: Transaction, parked: ParkedStream, seen: Checkpoint, after: int, before: int | None = None
    ) -> int:
        """Apply a stream's events through the checkpoint, and none from version `before` on; returns how many."""
        applied = 0
        tables = PlacedTables(self._context.stores, self._projection.tables)
        invoker = HandlerInvoker(self._projection, self._context.service, parked.generation, tables)
        while True:
            page = await self._events.read_stream(
                parked.stream, after=after, before=before, limit=_PAGE, db_tx=tx.db_tx
            )
            due = [event for event in page if event.position <= seen.position]
            for event in due:
                if self._event_filter.wants(event):
                    await self._one(invoker, tx, event, seen)
                    applied += 1
            if len(due) < _PAGE:
                return applied
            after = due[-1].version

    async def _one(self, invoker: HandlerInvoker, tx: Transaction, event: RecordedEvent, seen: Checkpoint) -> None:
        try:
            async with asyncio.timeout(self._event_timeout_seconds):
                await invoker.sink([event])
                await invoker.apply(tx, [event], seen.state)
        except Exception as error:
            known = self._context.database.translate_error(error)
            if known is None:
                raise _Failed(event, error) from error
            known.__cause__ = error
            if is_transient(known) and not isinstance(known, OperationTimeout):
                raise
            raise _Failed(event, known) from error


def _state(parked: ParkedStream) -> tuple[int, int, int, str]:
    return parked.version, parked.attempts, parked.started_attempts, parked.error


def _row(parked: ParkedStream, retry_in_seconds: float | None) -> ParkedStreamUpdate:
    return ParkedStreamUpdate(
        stream=parked.stream,
        position=parked.position,
        version=parked.version,
        event_id=parked.event_id,
        type=parked.type,
        error=parked.error,
        detail=parked.detail,
        attempts=parked.attempts,
        retry_seconds=retry_in_seconds,
        started_attempts=parked.started_attempts,
    )
