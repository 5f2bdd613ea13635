"""Loads the broker's messages, and the receipts and waiting messages of every service's database.

Imports msgspec, the readers and the scratch database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from freehold import Service
from freehold_shop.faults.poison import SOURCE as POISON
from freehold_shop.settings import OUTBOX_SENT_RETENTION_SECONDS
from freehold_shop.verify.readers import Reader
from freehold_shop.verify.scratch import Scratch

__all__ = [
    "ANY_TYPE",
    "load_framework",
    "load_messages",
    "load_restored_span",
    "load_subscriptions",
    "message_row",
    "note_unsettled",
]

_SENT_AGAIN_SECONDS = 3600.0
"""The time within which an operator is expected to resend what the broker has lost."""
ANY_TYPE = "*"
"""The type of a subscription to replies: a service with sagas handles all of them."""


class _Attributes(msgspec.Struct):
    """The attributes of an envelope that are compared; its body is not decoded."""

    id: str
    source: str
    type: str
    kind: str
    topic: str
    partitionkey: str
    idempotencykey: str | None = None


_decoder = msgspec.json.Decoder(_Attributes)


def message_row(document: bytes, stored_ms: int) -> tuple[Any, ...] | None:
    """A row of `message`. None for a document that is no envelope, which becomes a dead letter and is checked there.

    None also for messages of the fault `poison-message`, which no service has published and none should handle.
    """
    try:
        found = _decoder.decode(document)
    except msgspec.MsgspecError:
        return None
    if found.source == POISON:
        return None
    receipt_key = found.idempotencykey or found.id
    return found.id, receipt_key, found.topic, found.type, found.kind, found.partitionkey, stored_ms


def load_messages(scratch: Scratch, stored: Iterable[tuple[bytes, int]]) -> None:
    """Load the broker's documents, with the time when it stored each, in milliseconds since 1970."""
    rows = (row for row in (message_row(*each) for each in stored) if row is not None)
    scratch.load("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def load_subscriptions(scratch: Scratch, services: Mapping[str, Service]) -> None:
    """Load the topics and types that each service handles."""
    scratch.load("INSERT INTO subscription VALUES (?, ?, ?)", _subscriptions(services))


def load_framework(scratch: Scratch, service: str, reader: Reader) -> None:
    """Load a service's receipts, outbox, deferred messages, dead letters, parked streams and scheduled messages."""
    receipts = "SELECT receipt_key, count(*) FROM freehold_inbox WHERE consumer = '{}' GROUP BY receipt_key"
    scratch.load(
        "INSERT INTO receipt VALUES (?, ?, ?)",
        ((service, *row) for row in reader.rows(receipts.format(service))),
    )
    waiting = "INSERT INTO waiting VALUES (?, ?, ?, ?, ?, ?)"
    for place, query in _waiting_queries(reader).items():
        scratch.load(waiting, ((service, place, *row) for row in reader.rows(query)))


def note_unsettled(scratch: Scratch) -> None:
    """Note the keys with messages in transit, where the shop is busy; orders with these keys are not settled.

    These are the keys of messages that the broker stored after `settled_ms`, which a service may not have read or has
    just read, and of messages that are deferred or wait to be published.
    """
    scratch.script(
        """INSERT INTO unsettled SELECT key FROM message, moment WHERE quiet = 0 AND at_ms >= settled_ms
            UNION SELECT key FROM waiting, moment WHERE quiet = 0 AND place IN ('outbox', 'deferred');
        UPDATE customer_order SET settled = 0 WHERE order_id IN (SELECT key FROM unsettled);"""
    )


def load_restored_span(scratch: Scratch, reader: Reader) -> None:
    """Load since when the broker must have the messages of orders, where it has lost its log.

    Messages that were confirmed before the outbox's retention, or pruned before the resend, cannot be restored.
    """
    noted = next(reader.rows(f"SELECT max({reader.ms('noted_at')}) FROM freehold_outbox_log"), (None,))[0]
    kept_ms = int((OUTBOX_SENT_RETENTION_SECONDS - _SENT_AGAIN_SECONDS) * 1000)
    scratch.load("INSERT INTO restored_span VALUES (?)", [((noted or 0) - kept_ms,)])


def _waiting_queries(reader: Reader) -> Mapping[str, str]:
    identity, key = reader.uuid("id"), '"key"'
    return {
        "outbox": f"SELECT {identity}, {key}, {reader.ms('staged_at')}, reason FROM freehold_outbox",
        "deferred": f"SELECT receipt_key, {key}, {reader.ms('deferred_at')}, reason FROM freehold_deferred",
        "dead-letter": (
            f"SELECT {identity}, {key}, {reader.ms('failed_at')}, type || ' ' || reason"
            " FROM freehold_dead_letter WHERE status = 'dead'"
        ),
        "parked": (
            f"SELECT {reader.uuid('event_id')}, stream, {reader.ms('parked_at')}, projection || ' ' || error"
            " FROM freehold_parked"
        ),
        "timer": f"SELECT {identity}, {key}, {reader.ms('due_at')}, name FROM freehold_schedule",
    }


def _subscriptions(services: Mapping[str, Service]) -> Iterator[tuple[str, str, str]]:
    for name, service in services.items():
        for message in service.handlers:
            yield name, message.topic, message.name
        if service.sagas:
            yield name, f"{name}.replies", ANY_TYPE
