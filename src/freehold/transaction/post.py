"""What a service writes its events and sends its messages with. Imports the foundation, the ports, and the stores of
outbox, schedule and events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from freehold.broker import Outgoing
from freehold.clock import Clock, HybridLogicalClock
from freehold.consistency.token import NOTHING, Token
from freehold.database import Database
from freehold.errors import DeclarationError
from freehold.eventstore.store import EventStore, NewEvent, RecordedEvent
from freehold.ids import new_id
from freehold.messages import (
    Envelope,
    MessageKind,
    MessageType,
    encode_envelope,
    message_type,
)
from freehold.messages.texts import check_headers, check_name
from freehold.messages.values import encode_checked
from freehold.outbox.store import OutboxStore
from freehold.schedule.store import ScheduleStore
from freehold.transaction.context import current_token, current_trace_parent

if TYPE_CHECKING:
    from freehold.transaction.unit import Transaction

__all__ = ["AfterAppend", "Post", "SagaStarter", "outgoing"]


def outgoing(envelope: Envelope) -> Outgoing:
    """Encode an envelope for the outbox or the broker."""
    return Outgoing(id=envelope.id, topic=envelope.topic, key=envelope.key, document=encode_envelope(envelope))


def _partition_key(declared: MessageType, message: object, key: str | None) -> str | None:
    """The key given, else the value of the key field; None where neither asks for an order."""
    if key is not None:
        return check_name("key", key, of=declared.name)
    of_field = declared.partition_key(message)
    return None if of_field is None else check_name(declared.key or "key", of_field, of=declared.name)


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
        """Put a declared message into an envelope. Raises `DeclarationError`, `InvalidValue`."""
        declared = message_type(message)
        message_id = new_id()
        return Envelope(
            id=message_id,
            type=declared.name,
            version=declared.version,
            kind=declared.kind,
            source=self.service,
            topic=declared.topic,
            key=_partition_key(declared, message, key) or str(message_id),
            time=self.clock.now(),
            hlc=self.hlc.tick(),
            correlation_id=correlation_id or (cause.correlation_id if cause else message_id),
            causation_id=cause.id if cause else None,
            subject=None if subject is None else check_name("subject", subject, of=declared.name),
            trace_parent=current_trace_parent.get() or (cause.trace_parent if cause else None),
            headers=check_headers(headers, of=declared.name) if headers else {},
            token=token.text or None,
            body=encode_checked(message, of=declared.name),
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
        """Make an event of this service's own ready to be appended. Raises `DeclarationError`, `InvalidValue`.

        A stream that holds an event which does not fit its class could never be folded again.
        """
        declared = message_type(event)
        self.check_event(declared)
        data = encode_checked(event, of=declared.name)
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
            subject_key=None if subject_key is None else check_name("subject_key", subject_key, of=declared.name),
            headers=check_headers(headers, of=declared.name) if headers else {},
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
        from freehold.transaction.unit import Transaction

        async with self.database.begin() as unit:
            transaction = self._seen_by_caller(Transaction(self, unit, cause, correlation_id=correlation_id))
            yield transaction
            if unit.life.doomed is None:
                await transaction.flush()
        transaction.notify()

    def enlist(self, native: object, cause: Envelope | None = None) -> Transaction:
        """Join the user's own transaction; call `flush` before they commit, and `notify` after, if it is known. It is
        for this one: after a rollback what was collected is of no use, and the next transaction is joined anew.
        """
        from freehold.transaction.unit import Transaction

        return self._seen_by_caller(Transaction(self, self.database.enlist(native), cause))

    @staticmethod
    def _seen_by_caller(transaction: Transaction) -> Transaction:
        if current_token.get():
            transaction.observe(current_token.get())
        return transaction
