"""The envelope: CloudEvents 1.0 with Freehold's extension attributes. Imports the foundation only.

Attribute names on the wire are CloudEvents' (lower case, no separators): `partitionkey`, `correlationid`,
`causationid`, `traceparent`, `tracestate`, `hlc`, `schemaversion`, and for requests `replyto`, `idempotencykey`,
`compensates` (see freehold.inbox).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from freehold.messages.declaration import MessageKind
from freehold.tracecontext import TraceContext

__all__ = ["Envelope", "restarted_trace"]

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with its metadata.

    id              unique over all processes; the inbox' receipt key unless `idempotency_key` is given.
    type, version   the declared name and version; `kind` is event, command or reply.
    source          the service that sent it.
    topic           the topic on the broker, `<service>.events|commands|replies`.
    key             partition key: messages of one topic and key keep their order. Never empty: without a key it is the
                    id.
    time            wall-clock time of the sending transaction, UTC. It is for people, and never used for decisions.
    hlc             hybrid-logical-clock stamp of the sending commit.
    correlation_id  the same for all messages that follow from one cause; `causation_id` is the id of the message that
                    caused this one.
    trace_parent    W3C trace context of the code that published the message, with `trace_state`. Relays and brokers do
                    not change it.
    reply_to        topic of the reply. A reply has the request's `correlation_id`, and in `headers` the request's saga
                    and step.
    idempotency_key all attempts of one request share it; the receiver's effect and reply happen once for each key.
    compensates     in a compensation: the idempotency key of its action. An action that was not handled yet is
                    cancelled.
    token           text of the sending transaction's consistency token. The positions of its own messages are in their
                    `lane` and `position`.
    lane, position  stamped by the relay: the message's position in its service's outbox.
    watermark       stamped by the relay: every event of the lane with a position at or below it is on the broker before
                    this message, or is this message.
    headers         further text attributes, with names in lower case; adapters never interpret them.
    body            the encoded message, JSON as bytes.
    """

    id: UUID
    type: str
    version: int
    kind: MessageKind
    source: str
    topic: str
    key: str
    time: datetime
    hlc: int
    correlation_id: UUID
    body: bytes = field(repr=False)
    causation_id: UUID | None = None
    subject: str | None = None
    trace_parent: str | None = None
    trace_state: str | None = None
    reply_to: str | None = None
    idempotency_key: str | None = None
    compensates: str | None = None
    token: str | None = None
    lane: str | None = None
    position: int | None = None
    watermark: int | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _EMPTY)

    @property
    def receipt_key(self) -> str:
        """The key of its receipt in the inbox: all attempts of a request share one."""
        return self.idempotency_key or str(self.id)


def restarted_trace(envelope: Envelope) -> Envelope:
    """The envelope with a new trace, if it has one: for a message that is sent later than it was published."""
    trace = TraceContext.parse(envelope.trace_parent, envelope.trace_state)
    if trace is None:
        return envelope
    return replace(envelope, trace_parent=trace.restarted().parent, trace_state=None)
