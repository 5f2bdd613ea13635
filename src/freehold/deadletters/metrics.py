"""Metrics of dead letters: how many wait for an operator, and for how long. Pattern: imports the ports, its package."""

from __future__ import annotations

from typing import Final

from freehold.context import ServiceContext
from freehold.deadletters.store import DEAD_LETTERS, REASONS
from freehold.metrics import MetricFamily, MetricKind, SeriesKey, Values
from freehold.pattern import Reading

__all__ = ["ADDED", "FAMILIES", "READINGS"]

ADDED: Final = MetricFamily(
    "freehold_dead_letters_added_total",
    MetricKind.COUNTER,
    "Messages that this process gave up.",
    labels=("reason",),
)
OPEN: Final = MetricFamily(
    "freehold_dead_letters_open", MetricKind.GAUGE, "Dead letters that wait for an operator.", labels=("reason",)
)
OLDEST: Final = MetricFamily(
    "freehold_dead_letter_oldest_seconds",
    MetricKind.GAUGE,
    "For how long the oldest of them has waited; 0 if there is none.",
    unit="seconds",
    labels=("reason",),
)


async def _read(context: ServiceContext) -> Values:
    """Every reason has a value: an alarm that compares with 0 needs it."""
    found, now = await context.stores[DEAD_LETTERS].backlog(), context.clock.now()
    reasons = [*REASONS, *(each for each in found if each not in REASONS)]
    numbers: dict[SeriesKey, float] = dict.fromkeys([(each,) for each in reasons], 0)
    ages: dict[SeriesKey, float] = dict.fromkeys(numbers, 0.0)
    for reason, each in found.items():
        numbers[reason,] = each.number
        ages[reason,] = max(0.0, (now - each.oldest_at).total_seconds())
    return {OPEN: numbers, OLDEST: ages}


FAMILIES: Final = (ADDED,)
READINGS: Final = (Reading("dead letters", (OPEN, OLDEST), DEAD_LETTERS, _read),)
