"""From a delivered document to work for the dispatcher. Pattern: imports the foundation and its own package.

Reading never raises: a document that is no envelope, a version that nobody declared, a body that does not fit its class
become work with a `Defect`, which ends as a dead letter with a readable reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from freehold.errors import CodecError, UnknownMessage
from freehold.ids import derive_id
from freehold.inbox.handler import Handler, ReplyHandler
from freehold.inbox.store import Arrival
from freehold.messages import Envelope, MessageKind, decode_body, decode_envelope, registry
from freehold.policy import Retry
from freehold.transaction import Transaction

__all__ = ["Defect", "MessageReader", "Work", "dead_arrival"]

_REPLY_RETRY = Retry(attempts=10)


@dataclass(frozen=True, slots=True)
class Defect:
    """Why a message cannot be handled by anybody here: `reason` as in `DeadLetter`."""

    reason: str
    error: CodecError


@dataclass(frozen=True, slots=True)
class Work:
    """A message with what is to be done. `attempt` is the broker's count of handing it out."""

    arrival: Arrival
    document: bytes = field(repr=False)
    envelope: Envelope | None
    call: Callable[[Transaction], Awaitable[Any]] | None
    retry: Retry
    timeout_seconds: float | None = None
    defect: Defect | None = None
    attempt: int = 1


def dead_arrival(arrival: Arrival, envelope: Envelope | None) -> Arrival:
    """Under which receipt a message is given up.

    Not under the idempotency key of a request: its effect did not happen, so a compensation must still find it missing
    and bar it, and a replay must still be able to carry it out.
    """
    if envelope is None or envelope.idempotency_key is None:
        return arrival
    return Arrival(
        receipt_key=f"dead:{envelope.id}",
        topic=arrival.topic,
        key=arrival.key,
        deferred_position=arrival.deferred_position,
    )


class MessageReader:
    """Finds for each document the handler of a service, or says that it is not for this service."""

    def __init__(self, handlers: Iterable[Handler], replies: ReplyHandler | None = None) -> None:
        self._handlers: Mapping[tuple[str, int], Handler] = {
            (handler.message.name, handler.message.version): handler for handler in handlers
        }
        self._names = {name for name, _ in self._handlers}
        self._replies = replies

    def read(
        self, document: bytes, *, topic: str, position: str, attempt: int = 1, deferred_position: int | None = None
    ) -> Work | None:
        """Return what is to be done with a document; None where it is of no interest to this service."""
        try:
            envelope = decode_envelope(document)
        except CodecError as error:
            return self._unreadable(document, topic, position, error, attempt, deferred_position)
        arrival = Arrival(
            receipt_key=envelope.receipt_key,
            topic=envelope.topic,
            key=envelope.key,
            bars=envelope.bars,
            deferred_position=deferred_position,
        )
        if envelope.kind is MessageKind.REPLY:
            return self._reply(document, envelope, arrival, attempt)
        handler = self._handlers.get((envelope.type, envelope.version))
        if handler is None and envelope.type not in self._names and envelope.kind is MessageKind.EVENT:
            return None
        try:
            message = self._decode(envelope, handler)
        except CodecError as error:
            reason = "unknown-type" if isinstance(error, UnknownMessage) else "bad-body"
            return Work(
                arrival=dead_arrival(arrival, envelope),
                document=document,
                envelope=envelope,
                call=None,
                retry=_REPLY_RETRY,
                defect=Defect(reason, error),
                attempt=attempt,
            )
        known = self._handlers[envelope.type, envelope.version]
        return Work(
            arrival=arrival,
            document=document,
            envelope=envelope,
            call=lambda tx: known.function(message, tx),
            retry=known.retry,
            timeout_seconds=known.timeout_seconds,
            attempt=attempt,
        )

    def _decode(self, envelope: Envelope, handler: Handler | None) -> object:
        if handler is not None:
            message: object = decode_body(envelope.body, handler.message)
            return message
        registry.find(envelope.type, envelope.version)
        versions = ", ".join(str(version) for name, version in sorted(self._handlers) if name == envelope.type)
        known = f"it handles version {versions}" if versions else "it has no handler of that name"
        raise UnknownMessage(
            f"this service does not handle '{envelope.type}' version {envelope.version} ({known})",
            hint="declare a handler for it",
        )

    def _reply(self, document: bytes, envelope: Envelope, arrival: Arrival, attempt: int) -> Work | None:
        replies = self._replies
        if replies is None:
            return None
        return Work(
            arrival=arrival,
            document=document,
            envelope=envelope,
            call=lambda tx: replies.on_reply(envelope, tx),
            retry=_REPLY_RETRY,
            attempt=attempt,
        )

    def _unreadable(
        self,
        document: bytes,
        topic: str,
        position: str,
        error: CodecError,
        attempt: int,
        deferred_position: int | None,
    ) -> Work:
        """A document without an id is known by its place and its digest, so that a redelivery is recognised."""
        name = str(derive_id(topic, position, hashlib.sha256(document).hexdigest()))
        return Work(
            arrival=Arrival(
                receipt_key=f"unreadable:{name}", topic=topic, key=name, deferred_position=deferred_position
            ),
            document=document,
            envelope=None,
            call=None,
            retry=_REPLY_RETRY,
            defect=Defect("unreadable", error),
            attempt=attempt,
        )
