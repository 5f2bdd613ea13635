"""The staging area of a transaction, in which patterns stage messages and writes for its commit. Imports the
foundation, the ports and its package.

Everything is written right before the commit, with one round trip for each kind, events first. This keeps the time
short in which transactions of the same stream or key wait for each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar
from uuid import UUID

from freehold.broker import OutgoingMessage
from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.context import ServiceContext
from freehold.crash_points import crash_point
from freehold.database import DatabaseTransaction
from freehold.errors import DeclarationError
from freehold.eventstore.store import (
    APPENDED,
    EVENTS,
    Append,
    AppendResult,
    ExpectedVersion,
    NewEvent,
    RecordedEvent,
)
from freehold.ids import stable_hash
from freehold.messages import Envelope
from freehold.messages.lanes import lane_name
from freehold.outbox.store import OUTBOX, STAGED
from freehold.schedule.store import SCHEDULE, SCHEDULED
from freehold.transaction.ambient import token_witness
from freehold.transaction.envelopes import EnvelopeFactory, outgoing
from freehold.transaction.pending_writes import Companion, PendingWrites

__all__ = ["AfterAppend", "StagingArea"]

C = TypeVar("C")
_WRITES_MAX: Final = 10
"""How often a write is repeated for what was staged meanwhile. If something is left then, the commit is refused."""


class AfterAppend(Protocol):
    """Called with events in the transaction that appends them, once their positions are known."""

    async def __call__(self, staging: StagingArea, events: Sequence[RecordedEvent]) -> None:
        """Write what follows from the events: inline projections. An exception rolls the append back."""


class StagingArea:
    """The staging area of one transaction, for patterns: `tx.staging`. All is written with the commit, or nothing.

    It belongs to the handling of one message, `cause`. A batch has one staging area for each of its messages, with the
    same `pending` writes. Staging raises `TransactionEnded` after the transaction's end, and during its commit.
    """

    __slots__ = ("_after_append", "_seen", "cause", "context", "correlation_id", "db_tx", "envelopes", "pending")

    def __init__(
        self,
        context: ServiceContext,
        db_tx: DatabaseTransaction,
        cause: Envelope | None = None,
        *,
        correlation_id: UUID | None = None,
        after_append: AfterAppend | None = None,
        pending: PendingWrites | None = None,
    ) -> None:
        self.context = context
        self.envelopes = EnvelopeFactory(context)
        self.db_tx = db_tx
        self.cause = cause
        self.correlation_id = cause.correlation_id if cause is not None else correlation_id
        self.pending = PendingWrites() if pending is None else pending
        self._after_append = after_append
        # Computed at the first use: most handlers publish nothing.
        self._seen: ConsistencyToken | None = None
        if pending is None:
            db_tx.life.watch(self.pending)

    def for_message(self, cause: Envelope) -> StagingArea:
        """Return a staging area of the same transaction for the handling of another message."""
        return StagingArea(self.context, self.db_tx, cause, after_append=self._after_append, pending=self.pending)

    @property
    def token(self) -> ConsistencyToken:
        """The positions that this transaction has seen and, once they are written, those of its own events."""
        return self._has_seen().merged(self._reached())

    def observe(self, token: ConsistencyToken) -> None:
        """Add what the caller has seen. It is sent with everything that is published from here on."""
        self.db_tx.life.check()
        self._seen = self._has_seen().merged(token)

    def _has_seen(self) -> ConsistencyToken:
        if self._seen is None:
            self._seen = _seen_by(self.cause)
        return self._seen

    def envelope(
        self,
        message: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Envelope:
        """Make an envelope with this transaction's message as its cause. Raises `DeclarationError`, `InvalidValue`."""
        return self.envelopes.envelope(
            message,
            cause=self.cause,
            key=key,
            subject=subject,
            headers=headers,
            correlation_id=self.correlation_id,
            token=self._has_seen(),
        )

    def stage(self, envelope: Envelope) -> None:
        """Stage an envelope, which is sent unchanged."""
        self._collect(self.pending.messages, outgoing(envelope))

    def schedule(self, envelope: Envelope, delay_seconds: float) -> None:
        """Stage an envelope, which is sent unchanged `delay_seconds` after the commit."""
        self._collect(self.pending.scheduled, (outgoing(envelope), envelope.type, delay_seconds))

    def _collect(self, into: list[C], what: C) -> None:
        """Add to a collection. The transaction's end is checked before and after, because another thread may start the
        commit meanwhile: the addition is then either written or refused.
        """
        self.db_tx.life.check()
        into.append(what)
        if not self.db_tx.life.is_open:
            if what in into:
                into.remove(what)
            raise self.db_tx.life.ended()

    async def cancel(self, message_id: UUID) -> bool:
        """Cancel a scheduled message, staged or written. False: it was moved to the outbox, or never existed."""
        self.db_tx.life.check()
        return self.pending.unschedule(message_id) or await self.context.stores[SCHEDULE].cancel(self.db_tx, message_id)

    def append(self, stream: str, events: Sequence[NewEvent], expected: ExpectedVersion) -> None:
        """Stage events for a stream. Raises `ConcurrencyConflict` where the expected version contradicts events staged
        before.
        """
        self.db_tx.life.check()
        self.pending.appends.add(stream, events, expected)
        self.db_tx.life.check()

    def pending_events(self, stream: str) -> Sequence[NewEvent]:
        """Events of a stream that this transaction has staged and not written yet. A read of the stream adds them."""
        self.db_tx.life.check()
        return self.pending.appends.of(stream)

    @property
    def appended_position(self) -> int:
        """The position of the last event written in this transaction; 0 where there is none."""
        return self.pending.reached.positions.get(self.context.service, 0)

    def companion(
        self,
        key: object,
        make: Callable[[], C],
        write: Callable[[C], Awaitable[None]],
        *,
        left: Callable[[C], bool] | None = None,
        lasting: bool = False,
    ) -> C:
        """Return a pattern's own object for this transaction, by `key`; `make` makes it at the first call.

        `write` is called with it at each write of the transaction, before the events. `left` says whether the object
        has something that is not written. An object with a method `remember` (see `Remembers`) is restored by a
        savepoint's rollback. One that was made inside the savepoint is discarded then, unless it is `lasting`.
        """
        self.db_tx.life.check()
        if key not in self.pending.companions:
            self.pending.companions[key] = Companion(make(), write, left, lasting=lasting)
        found: C = self.pending.companions[key].value
        return found

    def after_commit(self, wake: Callable[[], None]) -> None:
        """Let `notify` call `wake` after the commit, once even if it is added several times. This is only a hint: it is
        not called after a crash, nor in an enlisted transaction whose owner does not call `notify`.
        """
        self.db_tx.life.check()
        self.pending.after_commit.add(wake)

    async def write(self, *, last: bool = False) -> None:
        """Write what is staged. Called before the commit; a further call writes only what is new.

        What other tasks of the transaction stage meanwhile is written as well. With `last` nothing but the commit
        follows, and messages may be written with it: their positions are known after it. Raises `TransactionEnded`, and
        `ConcurrencyConflict` where a stream does not have the expected version.
        """
        self.db_tx.life.check()
        self.pending.last = last
        await self._write_once(last=last)
        self.db_tx.life.check()  # an enlisted transaction has begun by now, so its end can be noticed from here on
        for _ in range(_WRITES_MAX):
            if not (self.pending.left or any(writer.left for writer in self.db_tx.life.writers)):
                return
            await self._write_once(last=last)

    async def _write_once(self, *, last: bool) -> None:
        for writer in tuple(self.db_tx.life.writers):
            await writer.write()
        for companion in tuple(self.pending.companions.values()):
            await companion.write()
        if self.pending.appends:
            await self._write_events()
        await self._write_messages(last=last)

    async def _write_events(self) -> None:
        """Append the events, and write what follows from them."""
        pending = self.pending
        appends = pending.appends.take()
        crash_point("transaction.before-events")
        appended = await self.context.stores[EVENTS].append(self.db_tx, appends)
        crash_point("transaction.events-written")
        pending.appended = True
        last = max(position for each in appended for position in each.positions)
        pending.reached = pending.reached.reached(self.context.service, last)
        if self._after_append is None:
            return
        await self._after_append(self, _recorded(appends, appended, self.context.clock.now()))
        crash_point("transaction.inline-projected")
        late = pending.appends.take()
        if late:
            raise DeclarationError(
                f"events were appended to '{late[0].stream}' while the transaction's events were being written",
                hint="append events in the handler, not in an inline projection",
            )

    async def _write_messages(self, *, last: bool) -> None:
        """Write the messages, with and without a due time. Those without are written last: see `write`."""
        pending = self.pending
        if pending.scheduled:
            scheduled, pending.scheduled[:] = tuple(pending.scheduled), []
            crash_point("transaction.before-scheduled")
            for message, name, delay_seconds in scheduled:
                await self.context.stores[SCHEDULE].add(self.db_tx, message, name, delay_seconds)
            crash_point("transaction.scheduled-written")
            pending.delayed = True
        if pending.messages:
            messages, pending.messages[:] = tuple(pending.messages), []
            crash_point("transaction.before-messages")
            outbox = self.context.stores[OUTBOX]
            if last:
                await outbox.stage_last(self.db_tx, messages, self._reached_by(messages))
            elif (tell := self._reached_by(messages)) is None:
                await outbox.stage(self.db_tx, messages)
            else:
                tell(await outbox.stage(self.db_tx, messages))
            crash_point("transaction.messages-written")
            pending.sent = True

    def _reached_by(self, messages: Sequence[OutgoingMessage]) -> Callable[[Sequence[int]], None] | None:
        """What notes the positions of messages, once they are known. None where no message is an event of this service:
        no read waits for commands and replies.
        """
        topic = f"{self.context.service}.events"
        if not any(message.topic == topic for message in messages):
            return None

        def tell(positions: Sequence[int]) -> None:
            self.pending.told.append((topic, messages, positions))

        return tell

    def _reached(self) -> ConsistencyToken:
        """The positions of what this transaction has written. Those of messages are added here: few tokens are read."""
        pending = self.pending
        while pending.told:
            pending.reached = pending.reached.merged(self._lanes(*pending.told.pop()))
        return pending.reached

    def _lanes(self, topic: str, messages: Sequence[OutgoingMessage], positions: Sequence[int]) -> ConsistencyToken:
        """The positions of the messages of a topic by lane."""
        partitions = self.context.stores[OUTBOX].partitions
        lanes: dict[str, int] = {}
        for message, position in zip(messages, positions, strict=True):
            if message.topic == topic:
                lane = lane_name(self.context.service, stable_hash(message.key) % partitions)
                lanes[lane] = max(position, lanes.get(lane, 0))
        return ConsistencyToken(lanes) if lanes else EMPTY_TOKEN

    def notify(self) -> None:
        """Emit the signals that wake runners, and call the functions of `after_commit` and the `token_witness`. Must be
        called after the commit.
        """
        if self.pending.appended:
            self.context.emit(APPENDED)
        if self.pending.sent:
            self.context.emit(STAGED)
        if self.pending.delayed:
            self.context.emit(SCHEDULED)
        for wake in self.pending.after_commit:
            wake()
        witness = token_witness.get()
        if witness is not None:
            witness(self.token)


def _recorded(appends: Sequence[Append], appended: Sequence[AppendResult], now: datetime) -> Sequence[RecordedEvent]:
    """The written events as a read would return them, in the order of their positions."""
    found = [
        RecordedEvent(position, batch.stream, where.version - len(batch.events) + number, now, event)
        for batch, where in zip(appends, appended, strict=True)
        for number, (event, position) in enumerate(zip(batch.events, where.positions, strict=True), 1)
    ]
    return sorted(found, key=lambda each: each.position)


def _seen_by(cause: Envelope | None) -> ConsistencyToken:
    """The positions that a message's handler has seen: those of its sender, and that of the message itself."""
    if cause is None:
        return EMPTY_TOKEN
    seen = ConsistencyToken.parse(cause.token) if cause.token else EMPTY_TOKEN
    if cause.lane is not None and cause.position is not None:
        seen = seen.reached(cause.lane, cause.position)
    return seen
