"""The envelope: CloudEvents 1.0 with Freehold's extension attributes. Imports the foundation only.

Attribute names on the wire are CloudEvents' (lower case, no separators): `partitionkey`, `correlationid`,
`causationid`, `traceparent`, `hlc`, `schemaversion`, and for requests `replyto`, `idempotencykey`, `compensates` (see
freehold.inbox).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from freehold.messages.declaration import MessageKind

__all__ = ["Envelope"]

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message on its way.

    id              unique for ever, also over processes; the inbox's key unless `idempotency_key` is given.
    type, version   the declared name and version; `kind` tells event, command or reply.
    source          the service that sent it.
    topic           where it travels, `<service>.events|commands|replies`.
    key             partition key: messages of one topic and key keep their order. Never empty (the id where none is
                    given).
    time            wall-clock time of the sending transaction, UTC; for people, never for decisions.
    hlc             hybrid-logical-clock stamp of the sending commit.
    correlation_id  the same for everything that follows from one cause; `causation_id` is the message that led to this
                    one.
    reply_to        topic that the answer goes to; a reply carries the request's `correlation_id` and, in `headers`, its
                    place.
    idempotency_key all attempts of one request share it; the receiver's effect and answer happen once per key.
    compensates     for a compensation: the idempotency key of the action that it reverses. An action that was not
                    handled yet is cancelled.
    token           consistency token of the sending transaction, in its text form; what its own messages reached is in
                    `lane` and `position`.
    lane, position, watermark  stamped by the relay: where the message stands in its service's outbox, and the position
                    through which everything of the lane is on the broker before it or is it itself.
    headers         further text attributes, lower-case names; carried, never interpreted by adapters.
    body            encoded message, JSON as bytes.
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
        """What the inbox knows it by: all attempts of a request share one receipt."""
        return self.idempotency_key or str(self.id)
