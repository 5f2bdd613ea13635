"""Metrics of messages: what is handled and deferred, how long it takes, and the lag. Pattern: imports the ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from freehold.context import ServiceContext
from freehold.inbox.store import INBOX
from freehold.metrics import Histogram, MetricFamily, MetricKind, Metrics, SeriesKey, Values
from freehold.pattern import Reading

__all__ = ["FAMILIES", "RESULTS", "MessageMeter", "count_messages", "meters_of", "readings"]

PROCESS_SECONDS: Final = MetricFamily(
    "freehold_message_process_seconds",
    MetricKind.HISTOGRAM,
    "How long the handler of a message took; of a batch, the part of one message.",
    unit="seconds",
    labels=("type", "status"),
    semantic="messaging.process.duration",
    semantic_labels=(
        ("=process", "messaging_operation_name"),
        ("type", "messaging_message_type"),
        ("status", "error_type"),
    ),
)
DELIVERY_SECONDS: Final = MetricFamily(
    "freehold_message_delivery_seconds",
    MetricKind.HISTOGRAM,
    "How long it took from the sender's transaction to the commit of the handler, retries included.",
    unit="seconds",
    labels=("type",),
    bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0),
)
MESSAGES: Final = MetricFamily(
    "freehold_messages_total",
    MetricKind.COUNTER,
    "Messages of the consumer and of the runner of deferred messages, by what became of them.",
    labels=("runner", "result"),
    semantic="messaging.client.consumed.messages",
    semantic_labels=(("runner", "messaging_consumer_runner"), ("result", "messaging_message_result")),
)
DEFERRED: Final = MetricFamily(
    "freehold_deferred", MetricKind.GAUGE, "Messages that failed and wait for a retry, or behind such a message."
)
DEFERRED_OLDEST: Final = MetricFamily(
    "freehold_deferred_oldest_seconds",
    MetricKind.GAUGE,
    "For how long the oldest deferred message has waited; 0 if there is none.",
    unit="seconds",
)
LAG: Final = MetricFamily(
    "freehold_consumer_lag",
    MetricKind.GAUGE,
    "Messages of a topic on the broker that the service has not acknowledged.",
    labels=("topic",),
)
LAG_SECONDS: Final = MetricFamily(
    "freehold_consumer_lag_seconds",
    MetricKind.GAUGE,
    "The age of the oldest of them; missing where the broker does not know it.",
    unit="seconds",
    labels=("topic",),
)
FAMILIES: Final = (PROCESS_SECONDS, DELIVERY_SECONDS, MESSAGES)
RESULTS: Final = ("handled", "duplicates", "deferred", "dead", "rejected")


class MessageMeter:
    """The histograms of one message type: runs of its handler that ended well or failed, and its delivery."""

    __slots__ = ("delivery", "failed", "ok")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.ok: Histogram = metrics.histogram(PROCESS_SECONDS, name, "ok")
        self.failed: Histogram = metrics.histogram(PROCESS_SECONDS, name, "error")
        self.delivery: Histogram = metrics.histogram(DELIVERY_SECONDS, name)


def meters_of(context: ServiceContext) -> Callable[[str], MessageMeter] | None:
    """What makes the meter of a message type; None where nothing is measured."""
    metrics = context.metrics
    return (lambda name: MessageMeter(metrics, name)) if metrics.enabled else None


def count_messages(context: ServiceContext, runner: str, counters: object) -> None:
    """Read the counters of a runner, which count anyway."""

    def reading(result: str) -> Callable[[], float]:
        return lambda: float(getattr(counters, result))

    for result in RESULTS:
        context.metrics.gauge(MESSAGES, reading(result), runner, result)


async def _deferred(context: ServiceContext) -> Values:
    stats = await context.stores[INBOX].stats()
    return {DEFERRED: {(): stats.pending}, DEFERRED_OLDEST: {(): stats.oldest_seconds}}


async def _lag(context: ServiceContext) -> Values:
    async with context.asked_broker() as broker:
        lags = await broker.lag(context.service)
    known: dict[SeriesKey, float] = {
        (each.topic,): each.oldest_seconds for each in lags if each.oldest_seconds is not None
    }
    return {LAG: {(each.topic,): each.pending for each in lags}, LAG_SECONDS: known}


def readings(needed: Callable[[ServiceContext], bool]) -> tuple[Reading, ...]:
    """The readings; `needed` says whether a service handles messages."""
    return (
        Reading("deferred", (DEFERRED, DEFERRED_OLDEST), INBOX, _deferred, needed),
        Reading("lag", (LAG, LAG_SECONDS), INBOX, _lag, needed, asks_broker=True),
    )
