"""Messages that no service can read, for every topic. Imports the broker port, the messages, the composition root."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from freehold import Unavailable, new_id
from freehold.broker import Broker, BrokerOptions, OutgoingMessage, PublishConfirmed
from freehold.messages import Envelope, MessageType, encode_envelope
from freehold.runtime import open_broker

__all__ = ["KEY", "SOURCE", "is_poison", "nonsense", "poison", "publish_all", "publish_poison"]

KEY = "poison"
"""The key of all poison: what is published later with this key is read later."""
SOURCE = "poison"
"""The source in the envelopes of poison."""

_PUBLISH_SECONDS = 10.0
_BODY = b'{"poison": true}'
_NO_DOCUMENT = b"\xff\xfe\x00 no document "
_NO_ENVELOPE = b'{"specversion":"1.0","id":42}'


async def poison(broker_url: str, options: BrokerOptions, handled: Iterable[MessageType]) -> int:
    """Publish unreadable messages to the topics of these messages; returns how many. Raises `Unavailable`."""
    broker = open_broker(broker_url, options)
    await broker.open()
    try:
        return await publish_poison(broker, handled)
    finally:
        await broker.close()


async def publish_poison(broker: Broker, handled: Iterable[MessageType]) -> int:
    """Publish them through an open broker: two for each topic, and one for each message that a service handles."""
    wanted = list(handled)
    messages: list[OutgoingMessage] = []
    for topic in sorted({each.topic for each in wanted}):
        messages += [nonsense(topic), OutgoingMessage(id=new_id(), topic=topic, key=KEY, document=_NO_ENVELOPE)]
    return await publish_all(broker, [*messages, *(_badly_shaped(each) for each in wanted)])


async def publish_all(broker: Broker, messages: Sequence[OutgoingMessage]) -> int:
    """Publish every one of them, or raise `Unavailable`; returns how many."""
    outcomes = await broker.publish(messages, _PUBLISH_SECONDS)
    stored = sum(isinstance(outcome, PublishConfirmed) for outcome in outcomes)
    if stored < len(messages):
        raise Unavailable(f"the broker accepted {stored} of {len(messages)} poisonous messages", hint="try again")
    return stored


def is_poison(document: bytes) -> bool:
    """Whether a dead letter's document is poison."""
    if document.startswith(_NO_DOCUMENT) or document == _NO_ENVELOPE:
        return True
    return _BODY in document and f'"source":"{SOURCE}"'.encode() in document


def nonsense(topic: str) -> OutgoingMessage:
    """A message whose document is no JSON, and is unique."""
    message_id = new_id()
    return OutgoingMessage(id=message_id, topic=topic, key=KEY, document=_NO_DOCUMENT + message_id.hex.encode())


def _badly_shaped(declared: MessageType) -> OutgoingMessage:
    """A valid envelope with a body that does not fit the declared class."""
    message_id = new_id()
    envelope = Envelope(
        id=message_id,
        type=declared.name,
        version=declared.version,
        kind=declared.kind,
        source=SOURCE,
        topic=declared.topic,
        key=KEY,
        time=datetime.now(UTC),
        hlc=0,
        correlation_id=message_id,
        body=_BODY,
    )
    return OutgoingMessage(id=message_id, topic=envelope.topic, key=envelope.key, document=encode_envelope(envelope))
