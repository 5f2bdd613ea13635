"""The router of received documents, which finds the handler for each. Pattern: imports the foundation and its package.

`MessageRouter.route` never raises. A document that is not an envelope, an undeclared version, and a body that does not
fit its class become calls with a `DecodeFailure`; these end as dead letters with a readable reason. A version without a
handler is handled if upcasters lead from it to a version that has one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from freehold.errors import CodecError, UnknownMessage
from freehold.ids import derive_id
from freehold.inbox.handler import Handler, ReplyHandler
from freehold.inbox.metrics import MessageMeter
from freehold.inbox.reply import REPLY_TYPE
from freehold.inbox.store import IncomingMessage, ReceiveResult, ReceiveStatus
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

__all__ = ["BatchPart", "DecodeFailure", "HandlerCall", "MessageRouter", "batch_end", "dead_arrival"]

_Call = tuple[Handler, object]
_OTHER_TYPE: Final = "other"
_RETRY: Final = Retry(attempts=10)
"""For calls without a handler of the service: replies, and messages that became none."""


@dataclass(frozen=True, slots=True)
class DecodeFailure:
    """The reason why no handler here can take a message; `reason` as in `DeadLetter`."""

    reason: str
    error: CodecError


@dataclass(frozen=True, slots=True)
class BatchPart:
    """A message that its handler takes together with others."""

    handler: Handler
    message: object


@dataclass(frozen=True, slots=True)
class HandlerCall:
    """A message and what to do with it. `delivery_count` is the broker's: how often it delivered the message.

    place           the partition that it came from; empty for a deferred message.
    call            handles the message in a transaction. None: nothing is done, or there is a `decode_failure`.
    decode_failure  the message cannot be handled: it becomes a dead letter.
    batch           what the handler takes together with other messages, in place of `call`.
    keep            stores the message if handling it fails, in place of deferring or dead-lettering it. Replies have
                    it, since the outcome in them must not be lost.
    """

    arrival: IncomingMessage
    document: bytes = field(repr=False)
    envelope: Envelope | None
    call: Callable[[Transaction], Awaitable[Any]] | None = None
    retry: Retry = _RETRY
    timeout_seconds: float | None = None
    decode_failure: DecodeFailure | None = None
    delivery_count: int = 1
    place: str = ""
    meter: MessageMeter | None = None
    batch: BatchPart | None = None
    keep: Callable[[Transaction, Exception], Awaitable[None]] | None = None


_Make = Callable[..., HandlerCall]
"""Makes a call of the message that is routed; it takes the other fields."""


def dead_arrival(arrival: IncomingMessage, envelope: Envelope | None) -> IncomingMessage:
    """Return the arrival with the receipt key under which the message is dead-lettered.

    That is not the idempotency key of a request. The effect of the request did not happen, so a compensation must still
    find no receipt and cancel the action, and a replay must still be able to carry it out.
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


def batch_end(works: Sequence[HandlerCall], receipts: Sequence[ReceiveResult], begin: int) -> int:
    """The end of the messages from `begin` on that one call of their handler takes: new ones that follow each other, so
    that the order of each key is kept. `begin + 1` where the handler takes one message.
    """
    batch, end = works[begin].batch, begin + 1
    if batch is None or receipts[begin].status is not ReceiveStatus.NEW:
        return end
    while end < len(works):
        other = works[end].batch
        if other is None or other.handler is not batch.handler or receipts[end].status is not ReceiveStatus.NEW:
            break
        end += 1
    return end


class MessageRouter:
    """Finds the handler of a service for each document, or says that the message is not for this service."""

    def __init__(
        self,
        handlers: Iterable[Handler],
        replies: ReplyHandler | None = None,
        meters: Callable[[str], MessageMeter] | None = None,
    ) -> None:
        self._handlers: Mapping[tuple[str, int], Handler] = {
            (handler.message.name, handler.message.version): handler for handler in handlers
        }
        self._names = {name for name, _ in self._handlers}
        self._replies = replies
        # Replies have the names of their results, and upcasters take names that no handler has: they share a meter.
        self._meters = {name: meters(name) for name in (*self._names, REPLY_TYPE)} if meters is not None else {}
        self._other = meters(_OTHER_TYPE) if meters is not None else None

    def route(
        self,
        document: bytes,
        *,
        topic: str,
        location: str,
        place: str = "",
        delivery_count: int = 1,
        deferred_position: int | None = None,
        watermarks: dict[str, int] | None = None,
    ) -> HandlerCall | None:
        """Return the call for a document; None where this service does not handle the message.

        The watermark of the message raises that of its lane in `watermarks`, also where the message is not handled.
        """
        try:
            envelope = decode_envelope(document)
        except CodecError as error:
            arrival = _undecoded(document, topic, location, deferred_position)
            failure = DecodeFailure("invalid-envelope", error)
            return HandlerCall(arrival, document, None, decode_failure=failure, delivery_count=delivery_count)
        if watermarks is not None:
            _raise_watermark(watermarks, envelope)
        arrival = _arrival(envelope, deferred_position)
        make = partial(
            HandlerCall,
            document=document,
            envelope=envelope,
            delivery_count=delivery_count,
            place=place,
            meter=self._meters.get(REPLY_TYPE if envelope.kind is MessageKind.REPLY else envelope.type, self._other),
        )
        if envelope.kind is MessageKind.REPLY:
            return self._reply(arrival, envelope, delivery_count, make)
        handler = self._handlers.get((envelope.type, envelope.version))
        if handler is None and self._is_ignored(envelope):
            return None
        try:
            calls = self._calls(envelope, handler)
        except CodecError as error:
            failure = DecodeFailure("unknown-type" if isinstance(error, UnknownMessage) else "invalid-body", error)
            return make(dead_arrival(arrival, envelope), decode_failure=failure)
        if len(calls) != 1:
            return _several(arrival, calls, make)
        known, message = calls[0]
        return make(
            arrival,
            call=lambda tx: known.call(message, tx),
            retry=known.retry,
            timeout_seconds=known.timeout_seconds,
            batch=BatchPart(known, message) if known.in_batches else None,
        )

    def _calls(self, envelope: Envelope, handler: Handler | None) -> Sequence[_Call]:
        """The handlers to call and their messages, in order. Raises `CodecError`, `UnknownMessage`."""
        if handler is not None:
            return ((handler, decode_body(envelope.body, handler.message)),)
        if self._is_upcast_here(envelope):
            unfolded = upcasters.unfold(envelope.type, envelope.version, envelope.body, self._handlers)
            return [call for version, body in unfolded if (call := self._call_upcast(version, body)) is not None]
        raise self._unhandled(envelope.type, envelope.version)

    def _call_upcast(self, version: tuple[str, int], body: dict[str, Any]) -> _Call | None:
        """The call for one result of upcasters; None for a message of a name that this service does not handle."""
        handler = self._handlers.get(version)
        if handler is not None:
            return handler, decode_upcast(body, handler.message)
        if version[0] in self._names:
            raise self._unhandled(*version)
        return None

    def _is_ignored(self, envelope: Envelope) -> bool:
        if envelope.kind is not MessageKind.EVENT:
            return False
        if envelope.version == WATERMARK_VERSION:
            return True
        return envelope.type not in self._names and not self._is_upcast_here(envelope)

    def _is_upcast_here(self, envelope: Envelope) -> bool:
        """Whether upcasters lead from the message to a handler, or turn a message of a handled name into nothing."""
        if upcasters.find(envelope.type, envelope.version) is None:
            return False
        ends = upcasters.ends(envelope.type, envelope.version, self._handlers)
        return any(end in self._handlers for end in ends) or (not ends and envelope.type in self._names)

    def _unhandled(self, name: str, version: int) -> UnknownMessage:
        """The error for a version that no handler here takes."""
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

    def _reply(
        self, arrival: IncomingMessage, envelope: Envelope, delivery_count: int, make: _Make
    ) -> HandlerCall | None:
        replies = self._replies
        if replies is None:
            return None
        return make(
            arrival,
            call=lambda tx: replies.on_reply(envelope, tx, cautious=delivery_count > 1),
            keep=lambda tx, error: replies.keep_reply(envelope, tx, error),
        )


def _raise_watermark(watermarks: dict[str, int], envelope: Envelope) -> None:
    lane, watermark = envelope.lane, envelope.watermark
    if lane is not None and watermark is not None and watermark > watermarks.get(lane, 0):
        watermarks[lane] = watermark


def _arrival(envelope: Envelope, deferred_position: int | None) -> IncomingMessage:
    return IncomingMessage(
        receipt_key=envelope.receipt_key,
        topic=envelope.topic,
        key=envelope.key,
        compensates=envelope.compensates,
        deferred_position=deferred_position,
        lane=envelope.lane,
        lane_position=envelope.position,
    )


def _undecoded(document: bytes, topic: str, location: str, deferred_position: int | None) -> IncomingMessage:
    """The arrival of a document without an id. Its key is made of location and digest: a redelivery has the same."""
    name = str(derive_id(topic, location, hashlib.sha256(document).hexdigest()))
    return IncomingMessage(
        receipt_key=f"invalid-envelope:{name}", topic=topic, key=name, deferred_position=deferred_position
    )


def _several(arrival: IncomingMessage, calls: Sequence[_Call], make: _Make) -> HandlerCall:
    """The call for a message that upcasters turned into several, or none: all in order, in one transaction, with one
    receipt.

    They fail together, so the retry policy of the first handler applies. If each handler has its own time limit, the
    limit is their sum, otherwise that of the service. The reply to a request that became several has no result.
    """

    async def call(tx: Transaction) -> None:
        for handler, message in calls:
            await handler.call(message, tx)

    limits = [handler.timeout_seconds for handler, _ in calls if handler.timeout_seconds is not None]
    return make(
        arrival,
        call=call,
        retry=calls[0][0].retry if calls else _RETRY,
        timeout_seconds=sum(limits) if calls and len(limits) == len(calls) else None,
    )
