"""Messages and dead letters that the queries make, each of a key of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from tests.conformance.sql.queries.registry import CONSUMER, TOPIC, fresh

from freehold.broker import OutgoingMessage
from freehold.deadletters.store import DeadLetter, DeadLetterStatus, Direction
from freehold.ids import new_id
from freehold.inbox.store import IncomingMessage
from freehold.messages import Envelope, MessageKind, encode_envelope


def outgoing(key: str) -> OutgoingMessage:
    return OutgoingMessage(new_id(), "orders.events", key, b"{}")


def incoming(key: str | None = None, receipt_key: str | None = None) -> IncomingMessage:
    return IncomingMessage(receipt_key or str(new_id()), TOPIC, key or f"fresh{next(fresh)}")


def letter() -> DeadLetter:
    """A dead letter of a key of its own."""
    return DeadLetter(
        id=new_id(),
        direction=Direction.INBOUND,
        consumer=CONSUMER,
        topic=TOPIC,
        key=f"fresh{next(fresh)}",
        message_id=new_id(),
        type="orders.place-order",
        reason="attempts-exhausted",
        error_type="ValueError",
        detail="",
        attempts=1,
        failed_at=datetime.now(UTC),
        status=DeadLetterStatus.DEAD,
        document=b"{}",
    )


def replayable() -> DeadLetter:
    """A dead letter that holds a readable envelope."""
    made = letter()
    envelope = Envelope(
        id=new_id(),
        type="orders.unheard-of",
        version=1,
        kind=MessageKind.COMMAND,
        source="web",
        topic=made.topic,
        key=made.key,
        time=made.failed_at,
        hlc=1,
        correlation_id=new_id(),
        body=b"{}",
    )
    return replace(made, document=encode_envelope(envelope))
