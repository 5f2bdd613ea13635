"""Scheduled messages, for `freehold trace`. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.context import ServiceContext
from freehold.messages import Envelope
from freehold.schedule.store import SCHEDULE, ScheduledMessage
from freehold.trace import Trace, Traced, TraceQuery, read_envelope, traced, until

__all__ = ["TRACES"]


async def _scheduled(context: ServiceContext, query: TraceQuery) -> Sequence[Traced]:
    rows = await query.rows(context, "scheduled messages", lambda limit: context.stores[SCHEDULE].find(None, limit))
    return [
        _scheduled_one(context, row, envelope)
        for row in rows
        for envelope in [read_envelope(row.message.document)]
        if query.fits(envelope, row.message.key, row.message.id)
    ]


def _scheduled_one(context: ServiceContext, row: ScheduledMessage, envelope: Envelope | None) -> Traced:
    message = row.message
    return traced(
        context,
        "scheduled",
        envelope,
        message.key,
        message.id,
        topic=message.topic,
        type_=row.name,
        due=row.due_at,
        waits_for=f"its due time, {until(row.due_at)}",
    )


TRACES: Final = (Trace(SCHEDULE, _scheduled),)
