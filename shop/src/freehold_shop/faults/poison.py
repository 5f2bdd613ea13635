"""Messages that nobody can read, for every topic. Imports the broker port, the messages and the composition root."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from freehold.binding import open_broker
from freehold.broker import Broker, BrokerOptions, Outgoing, Stored
from freehold.errors import Unavailable
from freehold.ids import new_id
from freehold.messages import Envelope, MessageType, encode_envelope

__all__ = ["is_poison", "poison", "publish_poison"]

_PUBLISH_SECONDS = 10.0
_BODY = b'{"poison": true}'
_NONSENSE = (b"\xff\xfe\x00 no document", b'{"specversion":"1.0","id":42}')


async def poison(broker_url: str, options: BrokerOptions, handled: Iterable[MessageType]) -> int:
    """Publish unreadable messages to the topics of these messages; returns how many. Raises `Unavailable`."""
    broker = open_broker(broker_url, options)
    await broker.open()
    try:
        return await publish_poison(broker, handled)
    finally:
        await broker.close()


async def publish_poison(broker: Broker, handled: Iterable[MessageType]) -> int:
    """Publish them through an open broker: two for each topic, and one for each message that somebody handles."""
    wanted = list(handled)
    messages = [message for topic in sorted({each.topic for each in wanted}) for message in _nonsense(topic)]
    messages += [_badly_shaped(each) for each in wanted]
    outcomes = await broker.publish(messages, _PUBLISH_SECONDS)
    stored = sum(isinstance(outcome, Stored) for outcome in outcomes)
    if stored < len(messages):
        raise Unavailable(f"the broker took {stored} of {len(messages)} poisonous messages", hint="try again")
    return stored


def is_poison(document: bytes) -> bool:
    """Whether a dead letter's document is one of ours."""
    return document in _NONSENSE or (_BODY in document and b'"source":"poison"' in document)


def _nonsense(topic: str) -> Sequence[Outgoing]:
    """Bytes that are no document, and a document that is no envelope."""
    return [Outgoing(id=new_id(), topic=topic, key=f"poison-{new_id()}", document=each) for each in _NONSENSE]


def _badly_shaped(declared: MessageType) -> Outgoing:
    """A proper envelope around a body that does not fit the declared class."""
    message_id = new_id()
    envelope = Envelope(
        id=message_id,
        type=declared.name,
        version=declared.version,
        kind=declared.kind,
        source="poison",
        topic=declared.topic,
        key=f"poison-{message_id}",
        time=datetime.now(UTC),
        hlc=0,
        correlation_id=message_id,
        body=_BODY,
    )
    return Outgoing(id=message_id, topic=envelope.topic, key=envelope.key, document=encode_envelope(envelope))
