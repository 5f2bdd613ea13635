"""The transaction that services work in: the unit of work plus what is published, sent and scheduled with it.

Imports the foundation, the ports, and the stores of outbox and schedule. Messages are collected in memory and written
in one round trip right before the commit (`flush`), which keeps the time short during which a key's transactions wait
for each other. What was collected is gone with a rollback, like everything else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

from freehold.broker import Outgoing
from freehold.clock import Clock, HybridLogicalClock
from freehold.database import Database, SqlConnection, UnitOfWork
from freehold.errors import DeclarationError
from freehold.ids import new_id
from freehold.messages import Envelope, MessageKind, encode_body, encode_envelope, message_type
from freehold.outbox.store import OutboxStore
from freehold.schedule.store import ScheduleStore

__all__ = ["Post", "SagaStarter", "Transaction", "current_trace_parent", "outgoing"]

C = TypeVar("C")
current_trace_parent: ContextVar[str | None] = ContextVar("freehold_trace_parent", default=None)
"""W3C `traceparent` of what is going on in this task; the HTTP integration and the consumer set it."""


def outgoing(envelope: Envelope) -> Outgoing:
    """Encode an envelope for the outbox or the broker."""
    return Outgoing(id=envelope.id, topic=envelope.topic, key=envelope.key, document=encode_envelope(envelope))


class SagaStarter(Protocol):
    """What begins a saga in a transaction; the saga engine gives it to the services that direct sagas."""

    async def __call__(self, tx: Transaction, saga: type[Any], state: Any, *, saga_id: UUID | None = None) -> UUID:
        """Begin an instance with the commit of `tx`; returns its id. An id given makes it happen once."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a service writes and sends its messages with: names, clocks, stores. One for each running service."""

    service: str
    database: Database
    outbox: OutboxStore
    schedule: ScheduleStore
    clock: Clock
    hlc: HybridLogicalClock
    on_staged: Callable[[], None] = field(default=lambda: None)
    on_scheduled: Callable[[], None] = field(default=lambda: None)
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
            body=encode_body(message),
        )

    @asynccontextmanager
    async def transaction(
        self, cause: Envelope | None = None, *, correlation_id: UUID | None = None
    ) -> AsyncIterator[Transaction]:
        """Open a transaction of our own: commits at the end with everything staged, rolls back on any exception."""
        async with self.database.begin() as unit:
            transaction = Transaction(self, unit, cause, correlation_id=correlation_id)
            yield transaction
            await transaction.flush()
        transaction.notify()

    def enlist(self, native: object, cause: Envelope | None = None) -> Transaction:
        """Join the user's own transaction; call `flush` before they commit, and `notify` after, if it is known."""
        return Transaction(self, self.database.enlist(native), cause)


@dataclass(slots=True)
class _Staged:
    outbox: list[Outgoing] = field(default_factory=list)
    scheduled: list[tuple[Outgoing, str, float]] = field(default_factory=list)
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

    __slots__ = ("_post", "_staged", "cause", "correlation_id", "unit")

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
        declared = message_type(event)
        if declared.kind is not MessageKind.EVENT:
            raise DeclarationError(f"'{declared.name}' is a {declared.kind.value}", hint="use send for commands")
        if declared.service != self._post.service:
            raise DeclarationError(
                f"'{declared.name}' belongs to '{declared.service}', and this is '{self._post.service}'",
                hint="publish an event of this service's own",
            )
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
        )

    async def flush(self) -> None:
        """Write what was staged so far. Called before the commit; repeat calls write only what is new."""
        for companion, write in tuple(self._staged.companions.values()):
            await write(companion)
        if self._staged.outbox:
            messages, self._staged.outbox[:] = tuple(self._staged.outbox), []
            await self._post.outbox.stage(self.unit, messages)
            self._staged.staged_any = True
        if self._staged.scheduled:
            scheduled, self._staged.scheduled[:] = tuple(self._staged.scheduled), []
            for message, name, delay_seconds in scheduled:
                await self._post.schedule.add(self.unit, message, name, delay_seconds)
            self._staged.scheduled_any = True

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
        """Wake relay, scheduler and whoever asked `after_commit`; to be called once the commit has happened."""
        if self._staged.staged_any:
            self._post.on_staged()
        if self._staged.scheduled_any:
            self._post.on_scheduled()
        for wake in self._staged.after_commit:
            wake()
