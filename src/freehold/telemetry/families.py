"""All metrics that there are: those of the patterns, and those that belong to no pattern. Runtime: imports patterns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from freehold.metrics import MetricFamily, MetricKind
from freehold.pattern import Pattern
from freehold.runtime.database_metrics import FAMILIES as DATABASE_FAMILIES

__all__ = ["LAST_SUCCESS", "OVERDUE", "PRUNE_OVERDUE", "READ_SECONDS", "RUNNERS", "UP", "declared_families"]

RUNNERS: Final = MetricFamily(
    "freehold_runners", MetricKind.GAUGE, "Background loops of this process, by their state.", labels=("state",)
)
OVERDUE: Final = MetricFamily(
    "freehold_overdue_seconds",
    MetricKind.GAUGE,
    "For how long the oldest due work has been due and was not done; 0 if nothing is overdue.",
    unit="seconds",
    labels=("work",),
)
PRUNE_OVERDUE: Final = MetricFamily(
    "freehold_prune_overdue_seconds",
    MetricKind.GAUGE,
    "For how long the oldest row has been past its retention; 0 if none is.",
    unit="seconds",
    labels=("rows",),
)
UP: Final = MetricFamily(
    "freehold_reading_up",
    MetricKind.GAUGE,
    "1 if the values were read, 0 if the database or broker did not answer in time: then they are missing.",
    labels=("reading",),
)
READ_SECONDS: Final = MetricFamily(
    "freehold_reading_seconds",
    MetricKind.GAUGE,
    "How long it took to read the values, or until that was given up.",
    unit="seconds",
    labels=("reading",),
)
LAST_SUCCESS: Final = MetricFamily(
    "freehold_reading_success_timestamp_seconds",
    MetricKind.GAUGE,
    "When the values were read last, as Unix time; missing if they never were.",
    unit="seconds",
    labels=("reading",),
)


def declared_families(patterns: Iterable[Pattern[Any]]) -> Mapping[str, tuple[MetricFamily, ...]]:
    """The families of each process (`process`), and those that are read from the database (`database`)."""
    patterns = tuple(patterns)
    counted = [family for pattern in patterns for family in pattern.families]
    read = [family for pattern in patterns for reading in pattern.readings for family in reading.families]
    return {
        "process": (*DATABASE_FAMILIES, *counted, RUNNERS),
        "database": (*read, OVERDUE, PRUNE_OVERDUE, UP, READ_SECONDS, LAST_SUCCESS),
    }
