"""The dead-letter pattern: its check, its metric, and the pruning of ended dead letters. Pattern: a declaration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from freehold.context import ServiceContext
from freehold.database import CheckResult
from freehold.deadletters.metrics import ADDED, FAMILIES, READINGS
from freehold.deadletters.store import DEAD_LETTERS, REASONS
from freehold.deadletters.trace import TRACES
from freehold.pattern import Column, Metric, Pattern, Pruning

__all__ = ["PATTERN"]


def _wire(context: ServiceContext) -> None:
    """Every reason is there from the start: a rate needs the 0 before the first one."""
    for reason in REASONS:
        context.metrics.counter(ADDED, reason)


async def _prune(context: ServiceContext, older_than_seconds: float, limit: int) -> int:
    return await context.stores[DEAD_LETTERS].prune(older_than_seconds, limit)


async def _count(context: ServiceContext) -> int:
    return sum((await context.stores[DEAD_LETTERS].count()).values())


async def _probe(context: ServiceContext) -> Sequence[CheckResult]:
    dead = await _count(context)
    if not dead:
        return [CheckResult("dead letters", ok=True, detail="none")]
    fix = f"freehold dlq list --service {context.service}"
    return [CheckResult("dead letters", ok=False, detail=f"{dead} wait for an operator", fix=fix)]


PATTERN: Final = Pattern[None](
    "deadletters",
    "keeps messages that were given up for an operator",
    declares=lambda _: None,
    traces=TRACES,
    probes=(_probe,),
    metrics=(Metric("dead_letters", "messages that were given up", DEAD_LETTERS, _count),),
    families=FAMILIES,
    readings=READINGS,
    wire=_wire,
    columns=(Column("dead letters", "dead_letters", lambda metrics: metrics["dead_letters"]),),
    pruning=(Pruning("dead-letters", DEAD_LETTERS, _prune, lambda settings: settings.dead_letter_retention_seconds),),
    commands={"dlq": "freehold.deadletters.commands:command"},
)
