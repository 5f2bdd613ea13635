"""The outbox' metrics for operators: its relays and waiting messages. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from freehold.context import ServiceContext
from freehold.deadletters.metrics import ADDED
from freehold.leases.store import LEASES
from freehold.metrics import MetricFamily, MetricKind, Values
from freehold.outages import BROKER
from freehold.outbox.relay_runner import RelayCounters
from freehold.outbox.relays import watch_relays
from freehold.outbox.store import OUTBOX
from freehold.pattern import Column, Metric, Notice, Reading

__all__ = ["COLUMNS", "FAMILIES", "METRICS", "NOTICES", "READINGS", "count_published"]


async def _partitions(context: ServiceContext) -> int:
    return context.stores[OUTBOX].partitions


async def _stats(context: ServiceContext) -> object:
    return await context.stores[OUTBOX].stats()


async def _kept(context: ServiceContext) -> str:
    """A notice about the messages that wait for the broker."""
    pending = (await context.stores[OUTBOX].stats()).pending
    return f"the outbox keeps {pending} message{'s' if pending != 1 else ''}" if pending else ""


def _show_relays(metrics: Mapping[str, Any]) -> str:
    alive = [relay for relay in metrics["relays"] if relay.alive]
    held = sum(relay.partitions for relay in alive)
    return f"{len(alive)} ({held}/{metrics['partitions']})" if alive else "none"


def _show_oldest(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['outbox'].oldest_seconds:.1f}" if metrics["outbox"].pending else "-"


PUBLISHED: Final = MetricFamily(
    "freehold_outbox_published_total",
    MetricKind.COUNTER,
    "Messages that the broker confirmed to the relay of this process.",
    semantic="messaging.client.sent.messages",
    semantic_labels=(("=publish", "messaging_operation_name"),),
)
REFUSED: Final = MetricFamily(
    "freehold_outbox_refused_total", MetricKind.COUNTER, "Attempts to publish a message that the broker refused."
)
LAG: Final = MetricFamily("freehold_outbox_lag", MetricKind.GAUGE, "Messages in the outbox that wait for the relay.")
LAG_SECONDS: Final = MetricFamily(
    "freehold_outbox_lag_seconds",
    MetricKind.GAUGE,
    "For how long the oldest of them has waited; 0 if there is none.",
    unit="seconds",
)
FAMILIES: Final = (PUBLISHED, REFUSED)


def count_published(context: ServiceContext, counters: RelayCounters) -> None:
    """Read the counters of a relay, which count anyway."""
    metrics = context.metrics
    metrics.gauge(PUBLISHED, lambda: counters.published)
    metrics.gauge(REFUSED, lambda: counters.refused)
    metrics.gauge(ADDED, lambda: counters.dead_lettered, "rejected-by-broker")


async def _lag(context: ServiceContext) -> Values:
    stats = await context.stores[OUTBOX].stats()
    return {LAG: {(): stats.pending}, LAG_SECONDS: {(): stats.oldest_seconds}}


READINGS: Final = (Reading("outbox", (LAG, LAG_SECONDS), OUTBOX, _lag),)
METRICS: Final = (
    Metric("relays", "relays, and how many partitions each holds", LEASES, watch_relays, watches=True),
    Metric("partitions", "partitions of the outbox", OUTBOX, _partitions),
    Metric("outbox", "messages that wait to be published", OUTBOX, _stats),
)
COLUMNS: Final = (
    Column("relays", "relays", _show_relays),
    Column("outbox", "outbox", lambda metrics: metrics["outbox"].pending),
    Column("oldest (s)", "outbox", _show_oldest),
)
NOTICES: Final = (Notice("outbox", OUTBOX, _kept, about=BROKER),)
