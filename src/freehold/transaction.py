"""The transaction that services work in: the unit of work plus what is appended, published, sent and scheduled with it.

Imports the foundation, the ports, the stores of outbox, schedule and events, and the consistency token. What is
collected is written in one round trip of each kind right before the commit (`flush`), events first, which keeps the
time short during which the transactions of a stream or key wait for each other. What was collected is gone with a
rollback, like everything else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

from freehold.broker import Outgoing
from freehold.clock import Clock, HybridLogicalClock
from freehold.consistency.token import NOTHING, Token, outbox_lane
from freehold.database import Database, SqlConnection, UnitOfWork
from freehold.errors import DeclarationError
from freehold.eventstore.staging import StagedAppends
from freehold.eventstore.store import EventStore, Expectation, ExpectedVersion, NewEvent, RecordedEvent
from freehold.ids import new_id, stable_hash
from freehold.messages import (
    Envelope,
    MessageKind,
    MessageType,
    decode_body,
    encode_body,
    encode_envelope,
    message_type,
)
from freehold.outbox.store import OutboxStore
from freehold.schedule.store import ScheduleStore

__all__ = [
    "AfterAppend",
    "Post",
    "SagaStarter",
    "Transaction",
    "current_token",
    "current_trace_parent",
    "outgoing",
    "token_witness",
]

C = TypeVar("C")
current_trace_parent: ContextVar[str | None] = ContextVar("freehold_trace_parent", default=None)
"""W3C `traceparent` of what is going on in this task; the HTTP integration and the consumer set it."""
current_token: ContextVar[Token] = ContextVar("freehold_token", default=NOTHING)
"""What the caller of this task has seen: the token that came with an HTTP request."""
token_witness: ContextVar[Callable[[Token], None] | None] = ContextVar("freehold_token_witness", default=None)
"""Who is told what each transaction of this task has reached, once it is committed: the answer to an HTTP request."""


def outgoing(envelope: Envelope) -> Outgoing:
    """Encode an envelope for the outbox or the broker."""
    return Outgoing(id=envelope.id, topic=envelope.topic, key=envelope.key, document=encode_envelope(envelope))


class SagaStarter(Protocol):
    """What begins a saga in a transaction; the saga engine gives it to the services that direct sagas."""

    async def __call__(self, tx: Transaction, saga: type[Any], state: Any, *, saga_id: UUID | None = None) -> UUID:
        """Begin an instance with the commit of `tx`; returns its id. An id given makes it happen once."""


class AfterAppend(Protocol):
    """What is done with events in the transaction that appends them, once their positions are known."""

    async def __call__(self, tx: Transaction, events: Sequence[RecordedEvent]) -> None:
        """Write what follows from the events at once: inline projections. Raising takes the append back."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a service writes and sends its messages with: names, clocks, stores. One for each running service."""

    service: str
    database: Database
    outbox: OutboxStore
    schedule: ScheduleStore
    clock: Clock
    hlc: HybridLogicalClock
    events: EventStore | None = None
    snapshots: object | None = None
    on_staged: Callable[[], None] = field(default=lambda: None)
    on_scheduled: Callable[[], None] = field(default=lambda: None)
    on_appended: Callable[[], None] = field(default=lambda: None)
    after_append: AfterAppend | None = None
    start_saga: SagaStarter | None = None

    def envelope(
        self,
        message: object,
        *,
        cause: Envelope | None = None,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        correlation_id: UUID | None = None,
        token: Token = NOTHING,
    ) -> Envelope:
        """Put a declared message into an envelope. Raises `DeclarationError`, `CodecError`."""
        declared = message_type(message)
        message_id = new_id()
        partition_key = key or declared.partition_key(message) or str(message_id)
        return Envelope(
            id=message_id,
            type=declared.name,
            version=declared.version,
            kind=declared.kind,
            source=self.service,
            topic=declared.topic,
            key=partition_key,
            time=self.clock.now(),
            hlc=self.hlc.tick(),
            correlation_id=correlation_id or (cause.correlation_id if cause else message_id),
            causation_id=cause.id if cause else None,
            subject=subject,
            trace_parent=current_trace_parent.get() or (cause.trace_parent if cause else None),
            headers=dict(headers or {}),
            token=token.text or None,
            body=encode_body(message),
        )

    def event(
        self,
        event: object,
        *,
        cause: Envelope | None = None,
        correlation_id: UUID | None = None,
        subject_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> NewEvent:
        """Make an event of this service's own ready to be appended. Raises `DeclarationError`, `CodecError`.

        It is read back: a stream that holds an event which does not fit its class can never be folded again.
        """
        declared = message_type(event)
        self.check_event(declared)
        data = encode_body(event)
        decode_body(data, declared)
        event_id = new_id()
        return NewEvent(
            id=event_id,
            type=declared.name,
            schema_version=declared.version,
            data=data,
            correlation_id=correlation_id or (cause.correlation_id if cause else event_id),
            hlc=self.hlc.tick(),
            causation_id=cause.id if cause else None,
            trace_parent=current_trace_parent.get() or (cause.trace_parent if cause else None),
            subject_key=subject_key,
            headers=dict(headers or {}),
        )

    def check_event(self, declared: MessageType) -> None:
        """Raise `DeclarationError` for what is no event, or an event of another service."""
        if declared.kind is not MessageKind.EVENT:
            raise DeclarationError(f"'{declared.name}' is a {declared.kind.value}", hint="use send for commands")
        if declared.service != self.service:
            raise DeclarationError(
                f"'{declared.name}' belongs to '{declared.service}', and this is '{self.service}'",
                hint="publish an event of this service's own",
            )

    @asynccontextmanager
    async def transaction(
        self, cause: Envelope | None = None, *, correlation_id: UUID | None = None
    ) -> AsyncIterator[Transaction]:
        """Open a transaction of our own: commits at the end with everything staged, rolls back on any exception."""
        async with self.database.begin() as unit:
            transaction = self._seen_by_caller(Transaction(self, unit, cause, correlation_id=correlation_id))
            yield transaction
            await transaction.flush()
        transaction.notify()

    def enlist(self, native: object, cause: Envelope | None = None) -> Transaction:
        """Join the user's own transaction; call `flush` before they commit, and `notify` after, if it is known. It is
        for this one: after a rollback what was collected is of no use, and the next transaction is joined anew.
        """
        return self._seen_by_caller(Transaction(self, self.database.enlist(native), cause))

    @staticmethod
    def _seen_by_caller(transaction: Transaction) -> Transaction:
        if current_token.get():
            transaction.observe(current_token.get())
        return transaction


@dataclass(slots=True)
class _Staged:
    appends: StagedAppends = field(default_factory=StagedAppends)
    outbox: list[Outgoing] = field(default_factory=list)
    scheduled: list[tuple[Outgoing, str, float]] = field(default_factory=list)
    reached: Token = NOTHING
    appended_any: bool = False
    staged_any: bool = False
    scheduled_any: bool = False
    after_commit: set[Callable[[], None]] = field(default_factory=set)
    companions: dict[object, tuple[Any, Callable[[Any], Awaitable[None]]]] = field(default_factory=dict)


class Transaction:
    """A unit of work on the service's database. Publish, send and schedule take effect with its commit, or not at all.

    `connection` is the native connection (SQLAlchemy `AsyncConnection` by default). `cause` is the message being
    handled; messages sent here inherit its correlation id and name it as their cause. Where there is no cause,
    `correlation_id` is that of what goes on, an HTTP request for one.
    """

    __slots__ = ("_post", "_seen", "_staged", "cause", "correlation_id", "unit")

    def __init__(
        self,
        post: Post,
        unit: UnitOfWork,
        cause: Envelope | None = None,
        staged: _Staged | None = None,
        *,
        correlation_id: UUID | None = None,
    ) -> None:
        self._post = post
        self._staged = staged if staged is not None else _Staged()
        self.unit = unit
        self.cause = cause
        self.correlation_id = cause.correlation_id if cause is not None else correlation_id
        # Found out when it is asked for: most handlers publish nothing.
        self._seen: Token | None = None

    @property
    def connection(self) -> Any:
        """What the service writes its own tables with."""
        return self.unit.native

    @property
    def sql(self) -> SqlConnection:
        """The same transaction without SQLAlchemy's layers, for hot paths: statements with `$1` placeholders.

        Raises `DeclarationError` on a database that does not speak SQL.
        """
        found: SqlConnection | None = getattr(self.unit, "sql", None)
        if found is None:
            raise DeclarationError("this database does not speak SQL", hint="use tx.connection")
        return found

    def for_message(self, cause: Envelope) -> Transaction:
        """The same transaction, seen from the handling of another message (batches)."""
        return Transaction(self._post, self.unit, cause, self._staged)

    def publish(
        self,
        event: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """Stage a fact of this service for everybody who subscribes; returns the message id.

        Raises `DeclarationError` for a class that is no event or is owned by another service.
        """
        self._post.check_event(message_type(event))
        envelope = self._envelope(event, key=key, subject=subject, headers=headers)
        self.stage(envelope)
        return envelope.id

    def send(
        self,
        command: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """Stage a request to the one service that owns the command; returns the message id."""
        declared = message_type(command)
        if declared.kind is not MessageKind.COMMAND:
            raise DeclarationError(f"'{declared.name}' is an {declared.kind.value}", hint="use publish for events")
        envelope = self._envelope(command, key=key, subject=subject, headers=headers)
        self.stage(envelope)
        return envelope.id

    def append(
        self,
        stream: str,
        *events: object,
        expected: ExpectedVersion = Expectation.ANY,
        subject_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Add events of this service's own to a stream (`category-id`) with the commit. They are kept, not published.

        `expected` is checked when the transaction ends (`flush`), which then raises `ConcurrencyConflict`. Events of
        several calls for one stream go together; what a later call expects counts those of the earlier ones. Raises
        `DeclarationError`, `CodecError`, `ConcurrencyConflict` where two calls contradict each other.
        """
        made = [
            self._post.event(
                event,
                cause=self.cause,
                correlation_id=self.correlation_id,
                subject_key=subject_key,
                headers=headers,
            )
            for event in events
        ]
        self._staged.appends.add(stream, made, expected)

    def keep(self, stream: str) -> None:
        """Append the event being handled to a stream of this service, as it came: a copy of others' history, which
        read models can be built from anew. Raises `DeclarationError` where no event is being handled.
        """
        cause = self.cause
        if cause is None or cause.kind is not MessageKind.EVENT:
            raise DeclarationError("there is no event to keep", hint="call keep in the handler of an event")
        kept = NewEvent(
            id=cause.id,
            type=cause.type,
            schema_version=cause.version,
            data=cause.body,
            correlation_id=cause.correlation_id,
            hlc=cause.hlc,
            causation_id=cause.causation_id,
            trace_parent=cause.trace_parent,
            headers=cause.headers,
        )
        self._staged.appends.add(stream, [kept], Expectation.ANY)

    def staged_events(self, stream: str) -> Sequence[NewEvent]:
        """Events appended to a stream in this transaction that are not written yet: what a read has to add."""
        return self._staged.appends.of(stream)

    @property
    def events(self) -> EventStore:
        """Where this service's events are kept. Give `self.unit` along, to read what this transaction wrote.

        Raises `DeclarationError` where there is none.
        """
        if self._post.events is None:
            raise DeclarationError("this service's database has no event store", hint="open it with open_stores")
        return self._post.events

    @property
    def snapshots(self) -> object | None:
        """Where this service's snapshots are kept, for the aggregates, which know its port."""
        return self._post.snapshots

    @property
    def token(self) -> Token:
        """What this transaction has seen and, once it is flushed, where its own events stand.

        Give it to whoever may read next, after the commit; a rolled-back transaction's is worth nothing.
        """
        return self._has_seen().merged(self._staged.reached)

    @property
    def appending(self) -> bool:
        """Whether `flush` may write events."""
        return bool(self._staged.appends or self._staged.companions)

    @property
    def appended_position(self) -> int:
        """The position of the last event written in this transaction, 0 where none was."""
        return self._staged.reached.positions.get(self._post.service, 0)

    def observe(self, token: Token) -> None:
        """Note what the caller has seen: it goes along with everything that is published from here on."""
        self._seen = self._has_seen().merged(token)

    def _has_seen(self) -> Token:
        if self._seen is None:
            self._seen = _seen_by(self.cause)
        return self._seen

    def schedule(self, message: object, *, delay_seconds: float, key: str | None = None) -> UUID:
        """Have a message sent `delay_seconds` after the commit; returns the id that `cancel` takes. Durable."""
        if delay_seconds < 0:
            raise DeclarationError(f"delay_seconds must not be negative, and is {delay_seconds}")
        envelope = self._envelope(message, key=key)
        self._staged.scheduled.append((outgoing(envelope), envelope.type, delay_seconds))
        return envelope.id

    def schedule_at(self, message: object, *, at: datetime, key: str | None = None) -> UUID:
        """Have a message sent at a wall-clock time (aware); a time that has passed means at once."""
        if at.tzinfo is None:
            raise DeclarationError("a scheduled time needs a time zone", hint="datetime.now(UTC) + ...")
        return self.schedule(message, delay_seconds=max(0.0, (at - self._post.clock.now()).total_seconds()), key=key)

    async def cancel(self, message_id: UUID) -> bool:
        """Take a scheduled message back. False when it is on its way already."""
        before = len(self._staged.scheduled)
        self._staged.scheduled[:] = [entry for entry in self._staged.scheduled if entry[0].id != message_id]
        if len(self._staged.scheduled) != before:
            return True
        return await self._post.schedule.cancel(self.unit, message_id)

    def stage(self, envelope: Envelope) -> None:
        """Stage a finished envelope (replies, replays); the patterns' own entrance."""
        self._staged.outbox.append(outgoing(envelope))

    def envelope(self, message: object, **overrides: Any) -> Envelope:
        """Make an envelope caused by this transaction's message, with fields replaced; stage it with `stage`."""
        return replace(self._envelope(message), **overrides)

    async def start(self, saga: type[Any], state: Any, *, saga_id: UUID | None = None) -> UUID:
        """Begin a saga that this service directs, with the commit; returns its id. The same id begins it once.

        Raises `DeclarationError` where this service directs no saga.
        """
        if self._post.start_saga is None:
            raise DeclarationError(f"'{self._post.service}' directs no saga", hint="declare it with @service.directs")
        return await self._post.start_saga(self, saga, state, saga_id=saga_id)

    def _envelope(
        self,
        message: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Envelope:
        return self._post.envelope(
            message,
            cause=self.cause,
            key=key,
            subject=subject,
            headers=headers,
            correlation_id=self.correlation_id,
            token=self._has_seen(),
        )

    async def flush(self) -> None:
        """Write what was staged so far. Called before the commit; repeat calls write only what is new."""
        for companion, write in tuple(self._staged.companions.values()):
            await write(companion)
        if self._staged.appends:
            await self._flush_events(self.events)
        if self._staged.outbox:
            messages, self._staged.outbox[:] = tuple(self._staged.outbox), []
            positions = await self._post.outbox.stage(self.unit, messages)
            self._reach_lanes(messages, positions)
            self._staged.staged_any = True
        if self._staged.scheduled:
            scheduled, self._staged.scheduled[:] = tuple(self._staged.scheduled), []
            for message, name, delay_seconds in scheduled:
                await self._post.schedule.add(self.unit, message, name, delay_seconds)
            self._staged.scheduled_any = True

    async def _flush_events(self, store: EventStore) -> None:
        appends = self._staged.appends.take()
        appended = await store.append(self.unit, appends)
        self._staged.appended_any = True
        head = max(position for each in appended for position in each.positions)
        self._staged.reached = self._staged.reached.reached(self._post.service, head)
        if self._post.after_append is not None:
            now = self._post.clock.now()
            recorded = [
                RecordedEvent(position, batch.stream, where.version - len(batch.events) + number, now, event)
                for batch, where in zip(appends, appended, strict=True)
                for number, (event, position) in enumerate(zip(batch.events, where.positions, strict=True), 1)
            ]
            await self._post.after_append(self, sorted(recorded, key=lambda each: each.position))
            late = self._staged.appends.take()
            if late:
                raise DeclarationError(
                    f"an append to '{late[0].stream}' came while the transaction's events were written",
                    hint="append where it is decided, not in what follows from the events",
                )

    def _reach_lanes(self, messages: Sequence[Outgoing], positions: Sequence[int]) -> None:
        """Note where this service's events stand; what goes to one service alone is nobody's to wait for."""
        topic = f"{self._post.service}.events"
        partitions = self._post.outbox.partitions
        lanes: dict[str, int] = {}
        for message, position in zip(messages, positions, strict=True):
            if message.topic == topic:
                lane = outbox_lane(self._post.service, stable_hash(message.key) % partitions)
                lanes[lane] = max(position, lanes.get(lane, 0))
        if lanes:
            self._staged.reached = self._staged.reached.merged(Token(lanes))

    def companion(self, key: object, make: Callable[[], C], write: Callable[[C], Awaitable[None]]) -> C:
        """Return what belongs to this transaction under `key`, made at the first call: a pattern's own collection.

        `write` is called with it at each `flush`, before the messages are staged.
        """
        if key not in self._staged.companions:
            self._staged.companions[key] = (make(), write)
        found: C = self._staged.companions[key][0]
        return found

    def after_commit(self, wake: Callable[[], None]) -> None:
        """Have `wake` called by `notify`, once however often it is asked for. A hint, never the only way: a crash, or
        an enlisted transaction whose owner calls no `notify`, leaves it out.
        """
        self._staged.after_commit.add(wake)

    def notify(self) -> None:
        """Wake relay, scheduler and whoever asked `after_commit`, and tell the `token_witness`; to be called once the
        commit has happened.
        """
        if self._staged.appended_any:
            self._post.on_appended()
        if self._staged.staged_any:
            self._post.on_staged()
        if self._staged.scheduled_any:
            self._post.on_scheduled()
        for wake in self._staged.after_commit:
            wake()
        witness = token_witness.get()
        if witness is not None:
            witness(self.token)


def _seen_by(cause: Envelope | None) -> Token:
    """What a message's handler has seen: what its sender had, and the message itself."""
    if cause is None:
        return NOTHING
    seen = Token.parse(cause.token) if cause.token else NOTHING
    if cause.lane is not None and cause.position is not None:
        seen = seen.reached(cause.lane, cause.position)
    return seen
