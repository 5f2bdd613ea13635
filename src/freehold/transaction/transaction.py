"""The transaction as handlers hold it. Imports the foundation, the ports and its package.

What was collected is gone with a rollback, like everything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from freehold.consistency.token import NOTHING, Token
from freehold.context import ServiceContext
from freehold.database import UnitOfWork
from freehold.errors import DeclarationError
from freehold.eventstore.store import EVENTS, EventStore, Expectation, ExpectedVersion, NewEvent, RecordedEvent
from freehold.messages import Envelope, MessageKind, message_type
from freehold.messages.values import check_delay, check_id, check_moment
from freehold.schedule.store import SCHEDULE
from freehold.sql import SqlConnection, sql_of
from freehold.transaction.ambient import token_witness
from freehold.transaction.envelopes import EnvelopeFactory, outgoing
from freehold.transaction.staging import Companion, Staged

__all__ = ["AfterAppend", "SagaStarter", "Transaction", "TransactionHooks"]

C = TypeVar("C")
_FLUSHES_MAX: Final = 10
"""How often a flush is repeated for what was collected meanwhile; what is left after that makes the commit refuse."""


class SagaStarter(Protocol):
    """What begins a saga in a transaction; the saga engine gives it to the services that direct sagas."""

    async def __call__(self, tx: Transaction, saga: type[Any], state: Any, *, saga_id: UUID | None = None) -> UUID:
        """Begin an instance with the commit of `tx`; returns its id. An id given makes it happen once."""


class AfterAppend(Protocol):
    """What is done with events in the transaction that appends them, once their positions are known."""

    async def __call__(self, tx: Transaction, events: Sequence[RecordedEvent]) -> None:
        """Write what follows from the events at once: inline projections. Raising takes the append back."""


@dataclass(frozen=True, slots=True)
class TransactionHooks:
    """What a service's patterns do inside of its transactions."""

    after_append: AfterAppend | None = None
    start_saga: SagaStarter | None = None


_NO_HOOKS: Final = TransactionHooks()


class Transaction:
    """A unit of work on the service's database. Publish, send and schedule take effect with its commit, or not at all.

    `connection` is what the database's engine gives the user to write with; `freehold.sqlalchemy` gives it with its
    type, and sessions. `cause` is the message being handled; messages sent here inherit its correlation id and name it
    as their cause. Where there is no cause, `correlation_id` is that of what goes on, an HTTP request for one.

    It lives as long as its block. After that, and while it is being committed, everything here raises
    `TransactionEnded`; `token` can still be read. Tasks that share a transaction may publish at the same time, and
    their statements take turns; they have to end before the block does. What was collected inside a savepoint that is
    rolled back is not sent.
    """

    __slots__ = ("_context", "_envelopes", "_hooks", "_seen", "_staged", "cause", "correlation_id", "unit")

    def __init__(
        self,
        context: ServiceContext,
        unit: UnitOfWork,
        cause: Envelope | None = None,
        staged: Staged | None = None,
        *,
        correlation_id: UUID | None = None,
        hooks: TransactionHooks = _NO_HOOKS,
    ) -> None:
        self._context = context
        self._envelopes = EnvelopeFactory(context)
        self._hooks = hooks
        self._staged = staged if staged is not None else Staged()
        self.unit = unit
        self.cause = cause
        self.correlation_id = cause.correlation_id if cause is not None else correlation_id
        # Found out when it is asked for: most handlers publish nothing.
        self._seen: Token | None = None
        if staged is None:
            unit.life.watch(self._staged)

    @property
    def connection(self) -> Any:
        """What the service writes its own tables with. Raises `TransactionEnded`."""
        self.unit.life.check()
        return self.unit.native

    @property
    def sql(self) -> SqlConnection:
        """The same transaction without SQLAlchemy's layers, for hot paths: statements with `$1` placeholders.

        Raises `DeclarationError` on a database that does not speak SQL, `TransactionEnded`.
        """
        self.unit.life.check()
        return sql_of(self.unit)

    def for_message(self, cause: Envelope) -> Transaction:
        """The same transaction, seen from the handling of another message (batches)."""
        return Transaction(self._context, self.unit, cause, self._staged, hooks=self._hooks)

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
        self._envelopes.check_event(message_type(event))
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
        self.unit.life.check()
        made = [
            self._envelopes.event(
                event,
                cause=self.cause,
                correlation_id=self.correlation_id,
                subject_key=subject_key,
                headers=headers,
            )
            for event in events
        ]
        self._staged.appends.add(stream, made, expected)
        self.unit.life.check()

    def keep(self, stream: str) -> None:
        """Append the event being handled to a stream of this service, as it came: a copy of others' history, which
        read models can be built from anew. Raises `DeclarationError` where no event is being handled.
        """
        self.unit.life.check()
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
        self.unit.life.check()

    def staged_events(self, stream: str) -> Sequence[NewEvent]:
        """Events appended to a stream in this transaction that are not written yet: what a read has to add."""
        self.unit.life.check()
        return self._staged.appends.of(stream)

    @property
    def events(self) -> EventStore:
        """Where this service's events are kept. Give `self.unit` along, to read what this transaction wrote.

        Raises `DeclarationError` where there is none, `TransactionEnded`.
        """
        self.unit.life.check()
        return self._context.stores[EVENTS]

    @property
    def context(self) -> ServiceContext:
        """The service that it belongs to: its stores, clocks, and what its patterns offer."""
        return self._context

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
        return self._staged.reached.positions.get(self._context.service, 0)

    def observe(self, token: Token) -> None:
        """Note what the caller has seen: it goes along with everything that is published from here on."""
        self.unit.life.check()
        self._seen = self._has_seen().merged(token)

    def _has_seen(self) -> Token:
        if self._seen is None:
            self._seen = _seen_by(self.cause)
        return self._seen

    def schedule(self, message: object, *, delay_seconds: float, key: str | None = None) -> UUID:
        """Have a message sent `delay_seconds` after the commit; returns the id that `cancel` takes. Durable.

        Raises `InvalidValue` for a delay below 0, above `DELAY_SECONDS_MAX`, or that is no number.
        """
        check_delay("delay_seconds", delay_seconds)
        envelope = self._envelope(message, key=key)
        self._collect(self._staged.scheduled, (outgoing(envelope), envelope.type, delay_seconds))
        return envelope.id

    def schedule_at(self, message: object, *, at: datetime, key: str | None = None) -> UUID:
        """Have a message sent at a wall-clock time (aware); a time that has passed means at once."""
        check_moment("at", at)
        delay_seconds = max(0.0, (at - self._context.clock.now()).total_seconds())
        check_delay("at", delay_seconds)
        return self.schedule(message, delay_seconds=delay_seconds, key=key)

    async def cancel(self, message_id: UUID) -> bool:
        """Take a scheduled message back. False when it is on its way already."""
        check_id("message_id", message_id)
        self.unit.life.check()
        before = len(self._staged.scheduled)
        self._staged.scheduled[:] = [entry for entry in self._staged.scheduled if entry[0].id != message_id]
        if len(self._staged.scheduled) != before:
            return True
        return await self._context.stores[SCHEDULE].cancel(self.unit, message_id)

    def stage(self, envelope: Envelope) -> None:
        """Stage a finished envelope (replies, replays); the patterns' own entrance."""
        self._collect(self._staged.outbox, outgoing(envelope))

    def _collect(self, into: list[C], what: C) -> None:
        """Looked at before and after: what another thread collects while the commit begins is refused, or written."""
        self.unit.life.check()
        into.append(what)
        if not self.unit.life.is_open:
            if what in into:
                into.remove(what)
            raise self.unit.life.ended()

    def envelope(self, message: object, **overrides: Any) -> Envelope:
        """Make an envelope caused by this transaction's message, with fields replaced; stage it with `stage`."""
        return replace(self._envelope(message), **overrides)

    async def start(self, saga: type[Any], state: Any, *, saga_id: UUID | None = None) -> UUID:
        """Begin a saga that this service directs, with the commit; returns its id. The same id begins it once.

        Raises `DeclarationError` where this service directs no saga.
        """
        self.unit.life.check()
        if self._hooks.start_saga is None:
            raise DeclarationError(
                f"'{self._context.service}' directs no saga", hint="declare it with @service.directs"
            )
        return await self._hooks.start_saga(self, saga, state, saga_id=saga_id)

    def _envelope(
        self,
        message: object,
        *,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Envelope:
        return self._envelopes.envelope(
            message,
            cause=self.cause,
            key=key,
            subject=subject,
            headers=headers,
            correlation_id=self.correlation_id,
            token=self._has_seen(),
        )

    async def flush(self) -> None:
        """Write what was staged so far. Called before the commit; repeat calls write only what is new.

        What other tasks of the transaction collect meanwhile is written as well. Raises `TransactionEnded`.
        """
        self.unit.life.check()
        await self._write()
        self.unit.life.check()  # an enlisted transaction has begun by now: from here on its end can be seen
        for _ in range(_FLUSHES_MAX):
            if not (self._staged.left or any(writer.left for writer in self.unit.life.writers)):
                return
            await self._write()

    async def _write(self) -> None:
        staged = self._staged
        await staged.write_companions(self.unit)
        if staged.appends:
            written = await staged.write_events(self.unit, self.events, self._context.service)
            if self._hooks.after_append is not None:
                await self._hooks.after_append(self, written.recorded(self._context.clock.now()))
                staged.check_no_late_appends()
        await staged.write_messages(self.unit, self._context)

    def companion(
        self,
        key: object,
        make: Callable[[], C],
        write: Callable[[C], Awaitable[None]],
        *,
        left: Callable[[C], bool] | None = None,
        lasting: bool = False,
    ) -> C:
        """Return what belongs to this transaction under `key`, made at the first call: a pattern's own collection.

        `write` is called with it at each `flush`, before the messages are staged; `left` says whether it holds
        something that is not written. An object with a method `remember` (see `Remembers`) follows savepoints; one that
        was made inside a savepoint is forgotten with it, unless it is `lasting`.
        """
        self.unit.life.check()
        if key not in self._staged.companions:
            self._staged.companions[key] = Companion(make(), write, left, lasting=lasting)
        found: C = self._staged.companions[key].value
        return found

    def after_commit(self, wake: Callable[[], None]) -> None:
        """Have `wake` called by `notify`, once however often it is asked for. A hint, never the only way: a crash, or
        an enlisted transaction whose owner calls no `notify`, leaves it out.
        """
        self.unit.life.check()
        self._staged.after_commit.add(wake)

    def notify(self) -> None:
        """Wake relay, scheduler and whoever asked `after_commit`, and tell the `token_witness`; to be called once the
        commit has happened.
        """
        self._staged.wake(self._context)
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
