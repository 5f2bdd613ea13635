"""From a delivered document to work for the dispatcher. Pattern: imports the foundation and its own package.

Reading never raises: a document that is no envelope, a version that nobody declared, a body that does not fit its class
become work with a `DecodeFailure`, which ends as a dead letter with a readable reason. A version that is not handled,
but from which upcasters lead to what is, is handled as what they make of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from freehold.errors import CodecError, UnknownMessage
from freehold.ids import derive_id
from freehold.inbox.handler import Handler, ReplyHandler
from freehold.inbox.store import IncomingMessage
from freehold.messages import (
    Envelope,
    MessageKind,
    decode_body,
    decode_envelope,
    decode_upcast,
    registry,
    upcasters,
)
from freehold.messages.lanes import WATERMARK_VERSION
from freehold.policy import Retry
from freehold.transaction import Transaction

__all__ = ["DecodeFailure", "HandlerCall", "MessageRouter", "dead_arrival"]

_Call = tuple[Handler, object]
_REPLY_RETRY = Retry(attempts=10)


@dataclass(frozen=True, slots=True)
class DecodeFailure:
    """Why a message cannot be handled by anybody here: `reason` as in `DeadLetter`."""

    reason: str
    error: CodecError


@dataclass(frozen=True, slots=True)
class HandlerCall:
    """A message with what is to be done. `attempt` is the broker's count of delivering it.

    keep  keeps it where handling it fails, so that it is neither deferred nor given up: a reply tells an outcome.
    """

    arrival: IncomingMessage
    document: bytes = field(repr=False)
    envelope: Envelope | None
    call: Callable[[Transaction], Awaitable[Any]] | None
    retry: Retry
    timeout_seconds: float | None = None
    defect: DecodeFailure | None = None
    attempt: int = 1
    keep: Callable[[Transaction, Exception], Awaitable[None]] | None = None


def dead_arrival(arrival: IncomingMessage, envelope: Envelope | None) -> IncomingMessage:
    """Under which receipt a message is given up.

    Not under the idempotency key of a request: its effect did not happen, so a compensation must still find it missing
    and cancel it, and a replay must still be able to carry it out.
    """
    if envelope is None or envelope.idempotency_key is None:
        return arrival
    return IncomingMessage(
        receipt_key=f"dead:{envelope.id}",
        topic=arrival.topic,
        key=arrival.key,
        deferred_position=arrival.deferred_position,
        lane=arrival.lane,
        lane_position=arrival.lane_position,
    )


class MessageRouter:
    """Finds for each document the handler of a service, or says that it is not for this service."""

    def __init__(self, handlers: Iterable[Handler], replies: ReplyHandler | None = None) -> None:
        self._handlers: Mapping[tuple[str, int], Handler] = {
            (handler.message.name, handler.message.version): handler for handler in handlers
        }
        self._names = {name for name, _ in self._handlers}
        self._replies = replies

    def read(
        self,
        document: bytes,
        *,
        topic: str,
        location: str,
        attempt: int = 1,
        deferred_position: int | None = None,
        heard: dict[str, int] | None = None,
    ) -> HandlerCall | None:
        """Return what is to be done with a document; None where it is of no interest to this service.

        What the message says of its lane, whoever it is for, raises the watermarks in `heard`.
        """
        try:
            envelope = decode_envelope(document)
        except CodecError as error:
            return self._invalid_envelope(document, topic, location, error, attempt, deferred_position)
        lane, watermark = envelope.lane, envelope.watermark
        if heard is not None and lane is not None and watermark is not None and watermark > heard.get(lane, 0):
            heard[lane] = watermark
        arrival = IncomingMessage(
            receipt_key=envelope.receipt_key,
            topic=envelope.topic,
            key=envelope.key,
            compensates=envelope.compensates,
            deferred_position=deferred_position,
            lane=lane,
            lane_position=envelope.position,
        )
        if envelope.kind is MessageKind.REPLY:
            return self._reply(document, envelope, arrival, attempt)
        handler = self._handlers.get((envelope.type, envelope.version))
        if handler is None and self._of_no_interest(envelope):
            return None
        try:
            calls = self._calls(envelope, handler)
        except CodecError as error:
            reason = "unknown-type" if isinstance(error, UnknownMessage) else "invalid-body"
            return HandlerCall(
                arrival=dead_arrival(arrival, envelope),
                document=document,
                envelope=envelope,
                call=None,
                retry=_REPLY_RETRY,
                defect=DecodeFailure(reason, error),
                attempt=attempt,
            )
        if len(calls) != 1:
            return _several(arrival, document, envelope, calls, attempt)
        known, message = calls[0]
        return HandlerCall(
            arrival=arrival,
            document=document,
            envelope=envelope,
            call=lambda tx: known.function(message, tx),
            retry=known.retry,
            timeout_seconds=known.timeout_seconds,
            attempt=attempt,
        )

    def _calls(self, envelope: Envelope, handler: Handler | None) -> Sequence[_Call]:
        """Which handlers are to be called with what, in order."""
        if handler is not None:
            return ((handler, decode_body(envelope.body, handler.message)),)
        if self._upcast_here(envelope):
            unfolded = upcasters.unfold(envelope.type, envelope.version, envelope.body, self._handlers)
            return [call for place, body in unfolded if (call := self._call_upcast(place, body)) is not None]
        raise self._unhandled(envelope.type, envelope.version)

    def _call_upcast(self, place: tuple[str, int], body: dict[str, Any]) -> _Call | None:
        """The call for one result; None for a message that this service never asked for."""
        handler = self._handlers.get(place)
        if handler is not None:
            return handler, decode_upcast(body, handler.message)
        if place[0] in self._names:
            raise self._unhandled(*place)
        return None

    def _of_no_interest(self, envelope: Envelope) -> bool:
        if envelope.kind is not MessageKind.EVENT:
            return False
        if envelope.version == WATERMARK_VERSION:
            return True
        return envelope.type not in self._names and not self._upcast_here(envelope)

    def _upcast_here(self, envelope: Envelope) -> bool:
        """Whether upcasters lead from it to a handler, or say that a message known here means nothing any more."""
        if upcasters.find(envelope.type, envelope.version) is None:
            return False
        ends = upcasters.ends(envelope.type, envelope.version, self._handlers)
        return any(end in self._handlers for end in ends) or (not ends and envelope.type in self._names)

    def _unhandled(self, name: str, version: int) -> UnknownMessage:
        """Why nobody here can take it."""
        try:
            registry.find(name, version)
        except UnknownMessage as error:
            return error
        versions = ", ".join(str(each) for named, each in sorted(self._handlers) if named == name)
        known = f"it handles version {versions}" if versions else "it has no handler of that name"
        return UnknownMessage(
            f"this service does not handle '{name}' version {version} ({known})",
            hint="declare a handler for it, or an upcaster from it",
        )

    def _reply(self, document: bytes, envelope: Envelope, arrival: IncomingMessage, attempt: int) -> HandlerCall | None:
        replies = self._replies
        if replies is None:
            return None
        return HandlerCall(
            arrival=arrival,
            document=document,
            envelope=envelope,
            call=lambda tx: replies.on_reply(envelope, tx, cautious=attempt > 1),
            retry=_REPLY_RETRY,
            attempt=attempt,
            keep=lambda tx, error: replies.keep_reply(envelope, tx, error),
        )

    def _invalid_envelope(
        self,
        document: bytes,
        topic: str,
        location: str,
        error: CodecError,
        attempt: int,
        deferred_position: int | None,
    ) -> HandlerCall:
        """A document without an id is known by its place and its digest, so that a redelivery is recognised."""
        name = str(derive_id(topic, location, hashlib.sha256(document).hexdigest()))
        return HandlerCall(
            arrival=IncomingMessage(
                receipt_key=f"invalid-envelope:{name}", topic=topic, key=name, deferred_position=deferred_position
            ),
            document=document,
            envelope=None,
            call=None,
            retry=_REPLY_RETRY,
            defect=DecodeFailure("invalid-envelope", error),
            attempt=attempt,
        )


def _several(
    arrival: IncomingMessage, document: bytes, envelope: Envelope, calls: Sequence[_Call], attempt: int
) -> HandlerCall:
    """Work for a message that became several, or none: all in order in its one transaction, with its one receipt.

    They fail together, so the first one's retry policy holds. Where each handler has a time limit of its own, the sum
    bounds the whole; otherwise the service's does. A request that became several is answered without a result.
    """

    async def call(tx: Transaction) -> None:
        for handler, message in calls:
            await handler.function(message, tx)

    limits = [handler.timeout_seconds for handler, _ in calls if handler.timeout_seconds is not None]
    return HandlerCall(
        arrival=arrival,
        document=document,
        envelope=envelope,
        call=call,
        retry=calls[0][0].retry if calls else _REPLY_RETRY,
        timeout_seconds=sum(limits) if calls and len(limits) == len(calls) else None,
        attempt=attempt,
    )
