"""Messages that wait to be published, for `freehold trace`. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.clock import duration
from freehold.context import ServiceContext
from freehold.messages import Envelope
from freehold.outbox.store import OUTBOX, UnsentMessage
from freehold.trace import Trace, Traced, TraceQuery, read_envelope, traced

__all__ = ["TRACES"]


async def _unsent(context: ServiceContext, query: TraceQuery) -> Sequence[Traced]:
    rows = await query.rows(context, "unsent messages", context.stores[OUTBOX].unsent)
    blocking = {row.staged.message.key: row for row in reversed(rows) if row.blocked_seconds}
    read = [(row, read_envelope(row.staged.message.document)) for row in rows]
    wanted = [
        (row, envelope) for row, envelope in read if query.fits(envelope, row.staged.message.key, row.staged.message.id)
    ]
    away = await query.broker_problem(context) if wanted else ""
    return [_unsent_one(context, row, envelope, blocking.get(row.staged.message.key), away) for row, envelope in wanted]


def _unsent_one(
    context: ServiceContext, row: UnsentMessage, envelope: Envelope | None, blocking: UnsentMessage | None, away: str
) -> Traced:
    message = row.staged.message
    if row.blocked_seconds:
        waits_for = f"its next attempt in {duration(row.blocked_seconds)}: the broker refused it"
    elif blocking is not None:
        waits_for = f"message {blocking.staged.message.id} of the same key, which the broker refused"
    elif away:
        waits_for = f"the broker: {away}"
    else:
        waits_for = "a relay, which publishes it: see freehold ps"
    return traced(
        context,
        "outbox",
        envelope,
        message.key,
        message.id,
        topic=message.topic,
        seconds=row.age_seconds,
        attempts=row.staged.attempts,
        reason=row.reason,
        waits_for=waits_for,
    )


TRACES: Final = (Trace(OUTBOX, _unsent),)
