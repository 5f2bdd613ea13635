"""Metrics of replicas: rows that differ from their source, and when they were compared. Pattern: imports the ports."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from freehold.context import ServiceContext
from freehold.metrics import MetricFamily, MetricKind, SeriesKey, Values
from freehold.pattern import Reading
from freehold.reconcile.store import RECONCILIATIONS

__all__ = ["readings"]

DRIFT: Final = MetricFamily(
    "freehold_replica_drift",
    MetricKind.GAUGE,
    "Rows that differed from their source in the last comparison, and were not repaired.",
    labels=("replica",),
)
COMPARED: Final = MetricFamily(
    "freehold_replica_compared_timestamp_seconds",
    MetricKind.GAUGE,
    "When the replica was compared last, as Unix time; missing if it never was, or if the comparison failed.",
    unit="seconds",
    labels=("replica",),
)


def readings(names: Callable[[ServiceContext], Collection[str]]) -> tuple[Reading, ...]:
    """The readings; `names` are the datasets of which a service has replicas."""

    async def read(context: ServiceContext) -> Values:
        found: dict[MetricFamily, dict[SeriesKey, float]] = {DRIFT: {}, COMPARED: {}}
        for name in names(context):
            last = await context.stores[RECONCILIATIONS].last(name)
            if last is not None and not last.error:
                found[DRIFT][name,] = last.drifted - last.repaired
                found[COMPARED][name,] = last.finished_at.timestamp()
        return found

    return (Reading("replicas", (DRIFT, COMPARED), RECONCILIATIONS, read, lambda context: bool(names(context))),)
