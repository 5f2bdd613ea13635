"""Metrics of projections: their lag, positions and parked streams. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from freehold.context import ServiceContext
from freehold.eventstore.store import EVENTS
from freehold.metrics import MetricFamily, MetricKind, SeriesKey, Values
from freehold.pattern import Reading
from freehold.projection.declaration import Projection
from freehold.projection.status import read_status
from freehold.projection.store import CHECKPOINTS, GenerationState

__all__ = ["readings"]

_LABELS: Final = ("projection", "state")
LAG_SECONDS: Final = MetricFamily(
    "freehold_projection_lag_seconds",
    MetricKind.GAUGE,
    "The age of the oldest event that a generation has not handled; 0 if there is none.",
    unit="seconds",
    labels=_LABELS,
)
LAG: Final = MetricFamily(
    "freehold_projection_lag", MetricKind.GAUGE, "Events that a generation has not handled.", labels=_LABELS
)
POSITION: Final = MetricFamily(
    "freehold_projection_position",
    MetricKind.GAUGE,
    "The position up to which every event is handled.",
    labels=_LABELS,
)
HEAD: Final = MetricFamily("freehold_projection_head", MetricKind.GAUGE, "The high-water mark of the event store.")
PARKED: Final = MetricFamily(
    "freehold_projection_parked",
    MetricKind.GAUGE,
    "Streams that a generation skips because an event failed.",
    labels=_LABELS,
)
PAUSED: Final = MetricFamily(
    "freehold_projection_paused", MetricKind.GAUGE, "1 if an operator paused the generation.", labels=_LABELS
)
_FAMILIES: Final = (LAG_SECONDS, LAG, POSITION, HEAD, PARKED, PAUSED)


def readings(declared: Callable[[ServiceContext], Mapping[str, Projection]]) -> tuple[Reading, ...]:
    """The readings; `declared` are the projections of a service. A live generation and one that is being built are told
    apart by `state`.
    """

    async def read(context: ServiceContext) -> Values:
        stores, projections = context.stores, declared(context)
        report = await read_status(stores[CHECKPOINTS], stores[EVENTS], projections, context.clock)
        found: dict[MetricFamily, dict[SeriesKey, float]] = {family: {} for family in _FAMILIES}
        for each in report.generations:
            if each.projection not in projections or each.state is GenerationState.RETIRED:
                continue
            key = (each.projection, each.state.value)
            found[LAG_SECONDS][key] = max(0.0, each.lag_seconds)
            found[LAG][key] = each.lag_events
            found[POSITION][key] = each.position
            found[HEAD][()] = each.head
            found[PARKED][key] = each.parked
            found[PAUSED][key] = each.paused is not None
        return found

    return (Reading("projections", _FAMILIES, CHECKPOINTS, read, lambda context: bool(declared(context))),)
