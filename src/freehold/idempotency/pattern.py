"""The idempotency pattern: the pruning of stored responses. Pattern: a declaration."""

from __future__ import annotations

from typing import Final

from freehold.context import ServiceContext
from freehold.idempotency.store import IDEMPOTENCY
from freehold.pattern import Pattern, Pruning

__all__ = ["PATTERN"]


async def _prune(context: ServiceContext, older_than_seconds: float, limit: int) -> int:
    return await context.stores[IDEMPOTENCY].prune(older_than_seconds, limit)


PATTERN: Final = Pattern[None](
    "idempotency",
    "answers a repeated HTTP request with the first response",
    declares=lambda _: None,
    pruning=(Pruning("idempotency", IDEMPOTENCY, _prune, lambda settings: settings.idempotency_retention_seconds),),
)
