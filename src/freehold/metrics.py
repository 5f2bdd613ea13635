"""Metrics of one process: what patterns declare, and the values that they count. Foundation: standard library only.

A value is a plain attribute: `counter.value += 1`. Labels are looked up once, where a pattern makes its objects. They
come from declarations only (topics, message types, sagas, projections, fixed words), never from ids, keys or texts of
errors. So the number of series is bounded by the code. `freehold.telemetry` writes the values in Prometheus' format.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from freehold.errors import DeclarationError

__all__ = [
    "DATABASE_SECONDS",
    "MESSAGE_SECONDS",
    "Counter",
    "Gauge",
    "Histogram",
    "MetricFamily",
    "MetricKind",
    "Metrics",
    "SeriesKey",
    "Values",
    "semantic_name",
]

DATABASE_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""The buckets of OpenTelemetry's conventions for calls of a database."""
MESSAGE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The buckets of OpenTelemetry's conventions for messages."""
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
SeriesKey = tuple[str, ...]
"""The values of a family's labels, in their order."""
Values = Mapping["MetricFamily", Mapping[SeriesKey, float]]
"""What a reading returns: the values of each family by labels."""


class MetricKind(StrEnum):
    """How the values of a family are read."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """The declaration of a metric. Every series has the label `service` as well.

    name      as Prometheus shows it, with the unit last; a counter ends in `_total`.
    help      one sentence: what is counted or measured.
    labels    the names of the labels; their values come from declarations.
    semantic  the name in OpenTelemetry's conventions; the same values are written under it. `semantic_labels` are pairs
              of our label and theirs, or of `=value` and theirs for a label that is the same in every series.
    bounds    the upper bounds of a histogram's buckets.

    Raises `DeclarationError` for a name that is not one of Prometheus' conventions.
    """

    name: str
    kind: MetricKind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    semantic: str = ""
    semantic_labels: tuple[tuple[str, str], ...] = ()
    bounds: tuple[float, ...] = MESSAGE_SECONDS

    def __post_init__(self) -> None:
        """Check the names."""
        for name in (self.name, *self.labels):
            if _NAME.fullmatch(name) is None or name == "service":
                raise DeclarationError(f"'{name}' cannot be a name of a metric or label", hint="lower case, with '_'")
        is_total = self.name.endswith("_total")
        if is_total is not (self.kind is MetricKind.COUNTER):
            raise DeclarationError(f"metric '{self.name}': counters end in _total, and only they do")
        if self.unit and not self.name.removesuffix("_total").endswith(f"_{self.unit}"):
            raise DeclarationError(f"metric '{self.name}' is in {self.unit}, and its name does not end in that")


class Counter:
    """A number that only grows: `counter.value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Gauge:
    """A number that is read when metrics are collected; `read` must not block or raise."""

    __slots__ = ("read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self.read = read


class Histogram:
    """Durations in buckets. `counts` has one more entry than `bounds`: what is above the last one."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Metrics:
    """The metrics of one service in one process. With `enabled` False the same calls return objects that nobody reads:
    hot paths ask for `enabled` once, where they are made, and then measure nothing.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled: Final = enabled
        self._series: dict[MetricFamily, dict[SeriesKey, Counter | Gauge | Histogram]] = {}

    def counter(self, family: MetricFamily, *labels: str) -> Counter:
        """The counter with these values of the labels; the same one each time. It is there with 0 from now on."""
        found = self._of(family, labels).setdefault(labels, Counter())
        assert isinstance(found, Counter)  # noqa: S101 - `_of` compares the kinds only once a family
        return found

    def histogram(self, family: MetricFamily, *labels: str) -> Histogram:
        """The histogram with these values of the labels; the same one each time."""
        found = self._of(family, labels).setdefault(labels, Histogram(family.bounds))
        assert isinstance(found, Histogram)  # noqa: S101 - `_of` compares the kinds only once a family
        return found

    def gauge(self, family: MetricFamily, read: Callable[[], float], *labels: str) -> None:
        """Read a number at each collection. A later call for the same labels replaces the earlier one: runners of a
        role that is started again take the place of the former ones. A counter may be read in this way too.
        """
        self._of(family, labels)[labels] = Gauge(read)

    def series(self) -> Iterator[tuple[MetricFamily, Mapping[SeriesKey, Counter | Gauge | Histogram]]]:
        """All families with their series."""
        return iter([(family, dict(series)) for family, series in self._series.items()])

    def _of(self, family: MetricFamily, labels: SeriesKey) -> dict[SeriesKey, Counter | Gauge | Histogram]:
        if len(labels) != len(family.labels):
            raise DeclarationError(
                f"metric '{family.name}' has the labels {', '.join(family.labels) or 'service only'}"
            )
        return self._series.setdefault(family, {})


def semantic_name(family: MetricFamily) -> str:
    """The name of OpenTelemetry's conventions as Prometheus writes it; empty where there is none."""
    if not family.semantic:
        return ""
    name = family.semantic.replace(".", "_")
    if family.unit and not name.endswith(f"_{family.unit}"):
        name += f"_{family.unit}"
    return f"{name}_total" if family.kind is MetricKind.COUNTER else name
