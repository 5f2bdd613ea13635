"""Dead letters, for `freehold trace`. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.context import ServiceContext
from freehold.deadletters.store import DEAD_LETTERS, DeadLetter, DeadLetterFilter
from freehold.messages import Envelope
from freehold.trace import Trace, Traced, TraceQuery, read_envelope, traced

__all__ = ["TRACES"]


async def _dead(context: ServiceContext, query: TraceQuery) -> Sequence[Traced]:
    letters = await query.rows(
        context, "dead letters", lambda limit: context.stores[DEAD_LETTERS].find(DeadLetterFilter(limit=limit))
    )
    return [
        _dead_one(context, letter, envelope)
        for letter in letters
        for envelope in [read_envelope(letter.document)]
        if query.fits(envelope, letter.key, letter.message_id, letter.id)
    ]


def _dead_one(context: ServiceContext, letter: DeadLetter, envelope: Envelope | None) -> Traced:
    return traced(
        context,
        "dead",
        envelope,
        letter.key,
        letter.message_id,
        topic=letter.topic,
        type_=letter.type,
        since=letter.failed_at,
        attempts=letter.attempts,
        reason=": ".join(filter(None, (letter.reason, letter.error_type, letter.detail))),
        waits_for=f"an operator: freehold dlq show {letter.id}",
    )


TRACES: Final = (Trace(DEAD_LETTERS, _dead),)
