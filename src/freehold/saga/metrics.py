"""Metrics of sagas: instances that have not ended, and for how long they run. Pattern: imports ports, its package."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from freehold.context import ServiceContext
from freehold.metrics import MetricFamily, MetricKind, SeriesKey, Values
from freehold.pattern import Reading
from freehold.saga.store import SAGAS, TERMINAL_STATUSES, SagaStatus

__all__ = ["readings"]

INSTANCES: Final = MetricFamily(
    "freehold_sagas", MetricKind.GAUGE, "Instances of sagas that have not ended.", labels=("saga", "status")
)
OLDEST: Final = MetricFamily(
    "freehold_saga_oldest_seconds",
    MetricKind.GAUGE,
    "How long ago the oldest of them was started; 0 if there is none.",
    unit="seconds",
    labels=("saga", "status"),
)
_IN_FLIGHT: Final = tuple(status for status in SagaStatus if status not in TERMINAL_STATUSES)


def readings(names: Callable[[ServiceContext], Collection[str]]) -> tuple[Reading, ...]:
    """The readings; `names` are those of the sagas that a service orchestrates."""

    async def read(context: ServiceContext) -> Values:
        found, now = await context.stores[SAGAS].backlog(), context.clock.now()
        numbers: dict[SeriesKey, float] = {(name, status.value): 0 for name in names(context) for status in _IN_FLIGHT}
        ages: dict[SeriesKey, float] = dict.fromkeys(numbers, 0.0)
        for (name, status), each in found.items():
            numbers[name, status.value] = each.number
            ages[name, status.value] = max(0.0, (now - each.oldest_at).total_seconds())
        return {INSTANCES: numbers, OLDEST: ages}

    return (Reading("sagas", (INSTANCES, OLDEST), SAGAS, read, lambda context: bool(names(context))),)
