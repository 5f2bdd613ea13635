"""Handled and deferred messages, for `freehold trace`. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.context import ServiceContext
from freehold.inbox.store import INBOX, DeferredMessage
from freehold.messages import Envelope
from freehold.trace import Trace, Traced, TraceQuery, read_envelope, traced, until

__all__ = ["TRACES"]


async def _deferred(context: ServiceContext, query: TraceQuery) -> Sequence[Traced]:
    rows = await query.rows(context, "deferred messages", lambda limit: context.stores[INBOX].deferred(None, limit))
    heads: dict[tuple[str, str, str], DeferredMessage] = {}
    for row in rows:
        heads.setdefault((row.consumer, row.topic, row.key), row)
    return [
        _deferred_one(context, row, envelope, heads[row.consumer, row.topic, row.key])
        for row in rows
        for envelope in [read_envelope(row.document)]
        if query.fits(envelope, row.key) or query.text == row.receipt_key
    ]


def _deferred_one(
    context: ServiceContext, row: DeferredMessage, envelope: Envelope | None, head: DeferredMessage
) -> Traced:
    if head is row:
        waits_for = f"its next attempt, {until(row.due_at)}"
    else:
        before = read_envelope(head.document)
        waits_for = f"message {before.id if before else head.receipt_key} of the same key, which is deferred"
    return traced(
        context,
        "deferred",
        envelope,
        row.key,
        None,
        topic=row.topic,
        since=envelope.time if envelope is not None else None,
        due=row.due_at if head is row else None,
        attempts=row.attempts,
        reason=row.reason,
        waits_for=waits_for,
    )


async def _handled(context: ServiceContext, query: TraceQuery) -> Sequence[Traced]:
    """The time in the receipt. All attempts of one request share a receipt."""
    service = context.service
    at = await context.stores[INBOX].received_at(service, query.text)
    if at is None:
        return []
    return [traced(context, "handled", None, "", query.id, since=at, waits_for="nothing: it was handled")]


TRACES: Final = (Trace(INBOX, _deferred), Trace(INBOX, _handled, last_resort=True))
