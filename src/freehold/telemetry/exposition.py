"""The text that Prometheus reads, of values in memory. Runtime: imports metrics, and `prometheus_client` when called.

Names, labels, escaping and the format are those of Prometheus' own library. The values are Freehold's: a metric of the
library has a lock for each increment, and its mode for several processes keeps files. Each process has its own endpoint
instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from freehold.errors import ConfigurationError
from freehold.metrics import Counter, Gauge, Histogram, MetricFamily, SeriesKey, semantic_name

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["CONTENT_TYPE", "Series", "exposed", "gauges"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Series = tuple[str, MetricFamily, Mapping[SeriesKey, Counter | Gauge | Histogram]]
"""The series of a family that one service has."""
_ERROR_TYPE: Final = "error_type"


def exposed(series: Iterable[Series]) -> bytes:
    """The text, families in order of their names. Raises `ConfigurationError` without `prometheus_client`."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise ConfigurationError(
            "metrics need the package prometheus-client", hint="pip install 'freehold[metrics]'"
        ) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(series)))
    return generate_latest(registry)


def gauges(service: str, values: Mapping[MetricFamily, Mapping[SeriesKey, float]]) -> Iterable[Series]:
    """Values that were read, as series."""
    for family, found in values.items():
        yield service, family, {labels: Gauge(lambda value=value: value) for labels, value in found.items()}  # type: ignore[misc] # a lambda with a default


class _Collected:
    """A collector of the library, for one exposition."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series = series

    def collect(self) -> Iterable[Metric]:
        """The families, each once, with the series of all services."""
        by_family: dict[MetricFamily, list[tuple[str, Mapping[SeriesKey, Any]]]] = {}
        for service, family, found in self._series:
            by_family.setdefault(family, []).append((service, found))
        for family in sorted(by_family, key=lambda each: each.name):
            names = ("service", *family.labels)
            for made, shown in _library_metrics(family):
                for service, found in by_family[family]:
                    for key, series in sorted(found.items()):
                        given = dict(zip(names, (service, *key), strict=True))
                        _add(made, {label: _value(source, label, given) for label, source in shown.items()}, series)
                yield made


def _library_metrics(family: MetricFamily) -> Iterable[tuple[Metric, Mapping[str, str]]]:
    """The library's metrics for a family: under its name, and under that of the conventions. Each with its labels, and
    for each the label of the family from which it comes.
    """
    from prometheus_client.metrics_core import Metric

    kind = family.kind.value
    yield (
        Metric(family.name.removesuffix("_total"), family.help, kind),
        {name: name for name in ("service", *family.labels)},
    )
    semantic = semantic_name(family)
    if semantic:
        shown = {"service": "service", **{label: source for source, label in family.semantic_labels}}
        yield Metric(semantic.removesuffix("_total"), family.help, kind), shown


def _value(source: str, label: str, given: Mapping[str, str]) -> str:
    """The value of a label: a constant, or that of a label of the family."""
    value = source.removeprefix("=") if source.startswith("=") else given[source]
    if label == _ERROR_TYPE:  # the conventions leave it out where there was no error
        return {"ok": "", "error": "_OTHER"}.get(value, value)
    return value


def _add(made: Metric, labels: dict[str, str], series: Counter | Gauge | Histogram) -> None:
    """Add the samples of one series."""
    match series:
        case Histogram():
            total = 0
            for bound, number in zip((*series.bounds, float("inf")), list(series.counts), strict=True):
                total += number
                made.add_sample(f"{made.name}_bucket", {**labels, "le": _bound(bound)}, total)
            made.add_sample(f"{made.name}_count", labels, total)
            made.add_sample(f"{made.name}_sum", labels, series.sum)
        case Counter() | Gauge():
            value = series.value if isinstance(series, Counter) else series.read()
            made.add_sample(f"{made.name}_total" if made.type == "counter" else made.name, labels, value)


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(float(bound))
