"""The outbox' metrics for operators: its relays and waiting messages. Pattern: imports the ports and its package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from freehold.context import ServiceContext
from freehold.leases.store import LEASES
from freehold.outages import BROKER
from freehold.outbox.relays import watch_relays
from freehold.outbox.store import OUTBOX
from freehold.pattern import Column, Metric, Notice

__all__ = ["COLUMNS", "METRICS", "NOTICES"]


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
