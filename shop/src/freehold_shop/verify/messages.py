"""Messages as the broker still has them, receipts, and what waits: read out of the broker and every service's database.

The embedded broker's file is read without changing it, a JetStream stream by a consumer of its own that acknowledges
nothing. Imports msgspec, the readers and the scratch database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from freehold.service import Service
from freehold_shop.verify.readers import Reader
from freehold_shop.verify.scratch import Scratch

__all__ = ["ANY_TYPE", "load_framework", "load_messages", "load_subscriptions", "message_row"]

ANY_TYPE = "*"
"""The type of a subscription to answers: whoever directs sagas takes all of them."""


class _Attributes(msgspec.Struct):
    """What is compared of an envelope; its body is passed over unread."""

    id: str
    type: str
    kind: str
    topic: str
    partitionkey: str
    time: datetime
    idempotencykey: str | None = None


_decoder = msgspec.json.Decoder(_Attributes)


def message_row(document: bytes) -> tuple[Any, ...] | None:
    """A row of `message`; None for what is no envelope, which ends as a dead letter and is found there."""
    try:
        found = _decoder.decode(document)
    except msgspec.MsgspecError:
        return None
    at_ms = int(found.time.timestamp() * 1000)
    return found.id, found.idempotencykey or found.id, found.topic, found.type, found.kind, found.partitionkey, at_ms


def load_messages(scratch: Scratch, documents: Iterable[bytes]) -> None:
    """Load what the broker has."""
    rows = (row for row in map(message_row, documents) if row is not None)
    scratch.load("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def load_subscriptions(scratch: Scratch, services: Mapping[str, Service]) -> None:
    """Load which service takes what."""
    scratch.load("INSERT INTO subscription VALUES (?, ?, ?)", _subscriptions(services))


def load_framework(scratch: Scratch, service: str, reader: Reader) -> None:
    """Load receipts, and what waits in a service's outbox, among deferred messages, dead letters and timers."""
    receipts = "SELECT receipt_key, count(*) FROM freehold_inbox WHERE consumer = '{}' GROUP BY receipt_key"
    scratch.load(
        "INSERT INTO receipt VALUES (?, ?, ?)",
        ((service, *row) for row in reader.rows(receipts.format(service))),
    )
    waiting = "INSERT INTO waiting VALUES (?, ?, ?, ?, ?, ?)"
    for place, query in _waiting_queries(reader).items():
        scratch.load(waiting, ((service, place, *row) for row in reader.rows(query)))


def _waiting_queries(reader: Reader) -> Mapping[str, str]:
    return {
        "outbox": f"SELECT CAST(id AS TEXT), key, {reader.ms('staged_at')}, reason FROM freehold_outbox",
        "deferred": f"SELECT receipt_key, key, {reader.ms('deferred_at')}, reason FROM freehold_deferred",
        "dead-letter": (
            f"SELECT CAST(id AS TEXT), key, {reader.ms('failed_at')}, type || ' ' || reason"
            " FROM freehold_dead_letter WHERE status = 'dead'"
        ),
        "parked": (
            f"SELECT CAST(event_id AS TEXT), stream, {reader.ms('parked_at')}, projection || ' ' || error"
            " FROM freehold_parked"
        ),
        "timer": f"SELECT CAST(id AS TEXT), key, {reader.ms('due_at')}, name FROM freehold_schedule",
    }


def _subscriptions(services: Mapping[str, Service]) -> Iterator[tuple[str, str, str]]:
    for name, service in services.items():
        for message in service.handlers:
            yield name, message.topic, message.name
        if service.sagas:
            yield name, f"{name}.replies", ANY_TYPE
