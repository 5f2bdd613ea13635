"""The factory of a service's envelopes and new events. Imports the foundation, event store records and `ambient`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from freehold.broker import OutgoingMessage
from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.context import ServiceContext
from freehold.errors import DeclarationError
from freehold.eventstore.store import NewEvent
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
from freehold.transaction.ambient import trace_of

__all__ = ["EnvelopeFactory", "kept_event", "outgoing"]


def outgoing(envelope: Envelope) -> OutgoingMessage:
    """Encode an envelope for the outbox or the broker."""
    return OutgoingMessage(id=envelope.id, topic=envelope.topic, key=envelope.key, document=encode_envelope(envelope))


def kept_event(received: Envelope) -> NewEvent:
    """Return a received event of another service as a new event to append, unchanged and with its id."""
    return NewEvent(
        id=received.id,
        type=received.type,
        schema_version=received.version,
        data=received.body,
        correlation_id=received.correlation_id,
        hlc=received.hlc,
        causation_id=received.causation_id,
        trace_parent=received.trace_parent,
        headers=received.headers,
    )


def _partition_key(declared: MessageType, message: object, key: str | None) -> str | None:
    """The given key, else the value of the key field; None where there is neither, and no order is kept."""
    if key is not None:
        return check_name("key", key, of=declared.name)
    of_field = declared.partition_key(message)
    return None if of_field is None else check_name(declared.key or "key", of_field, of=declared.name)


@dataclass(frozen=True, slots=True)
class EnvelopeFactory:
    """Makes the envelopes and new events of one service: sets ids, times and causes, and checks the values."""

    context: ServiceContext

    def envelope(
        self,
        message: object,
        *,
        cause: Envelope | None = None,
        key: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
        correlation_id: UUID | None = None,
        token: ConsistencyToken = EMPTY_TOKEN,
    ) -> Envelope:
        """Put a declared message into an envelope. Raises `DeclarationError`, `InvalidValue`."""
        declared = message_type(message)
        message_id = new_id()
        trace = trace_of(cause)
        return Envelope(
            id=message_id,
            type=declared.name,
            version=declared.version,
            kind=declared.kind,
            source=self.context.service,
            topic=declared.topic,
            key=_partition_key(declared, message, key) or str(message_id),
            time=self.context.clock.now(),
            hlc=self.context.hlc.tick(),
            correlation_id=correlation_id or (cause.correlation_id if cause else message_id),
            causation_id=cause.id if cause else None,
            subject=None if subject is None else check_name("subject", subject, of=declared.name),
            trace_parent=trace.parent if trace is not None else None,
            trace_state=trace.state if trace is not None else None,
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
        """Make a new event of this service to be appended. Raises `DeclarationError`, `InvalidValue`.

        An event that does not fit its class is refused, since its stream could not be folded any more.
        """
        declared = message_type(event)
        self.check_event(declared)
        data = encode_checked(event, of=declared.name)
        event_id = new_id()
        trace = trace_of(cause)
        return NewEvent(
            id=event_id,
            type=declared.name,
            schema_version=declared.version,
            data=data,
            correlation_id=correlation_id or (cause.correlation_id if cause else event_id),
            hlc=self.context.hlc.tick(),
            causation_id=cause.id if cause else None,
            trace_parent=trace.parent if trace is not None else None,
            subject_key=None if subject_key is None else check_name("subject_key", subject_key, of=declared.name),
            headers=check_headers(headers, of=declared.name) if headers else {},
        )

    def check_event(self, declared: MessageType) -> None:
        """Raise `DeclarationError` for a command, and for an event of another service."""
        if declared.kind is not MessageKind.EVENT:
            raise DeclarationError(f"'{declared.name}' is a {declared.kind.value}", hint="use send for commands")
        if declared.service != self.context.service:
            raise DeclarationError(
                f"'{declared.name}' belongs to '{declared.service}', and this is '{self.context.service}'",
                hint="publish an event of this service",
            )
