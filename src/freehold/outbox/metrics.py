"""What operators see of the outbox: who relays, and what waits. Pattern: imports the ports and its package.

Leases carry no time: that a relay lives is seen by its heartbeat moving. So they are looked at twice, half a lease
apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from freehold.context import ServiceContext
from freehold.leases.store import LEASES, LeaseRecord
from freehold.outages import BROKER
from freehold.outbox.store import LEASE_PREFIX, OUTBOX
from freehold.pattern import Column, Metric, Notice

__all__ = ["COLUMNS", "METRICS", "NOTICES"]

_MEMBERS: Final = f"{LEASE_PREFIX}member/"


@dataclass(frozen=True, slots=True)
class _Relay:
    """A relay by its name, which is host, process id and a number; `alive` where its heartbeat moved."""

    name: str
    alive: bool
    partitions: int


async def _relays(context: ServiceContext) -> Sequence[_Relay]:
    leases = context.stores[LEASES]
    before = await leases.list(LEASE_PREFIX)
    await asyncio.sleep(context.settings.lease_seconds / 2)
    return _seen_relays(before, await leases.list(LEASE_PREFIX))


def _seen_relays(before: Sequence[LeaseRecord], after: Sequence[LeaseRecord]) -> Sequence[_Relay]:
    seen = {each.name: (each.token, each.heartbeat) for each in before}
    members = [each for each in after if each.name.startswith(_MEMBERS) and each.owner]
    return [
        _Relay(
            name=member.owner,
            alive=seen.get(member.name) != (member.token, member.heartbeat),
            partitions=sum(each.owner == member.owner and not each.name.startswith(_MEMBERS) for each in after),
        )
        for member in members
    ]


async def _partitions(context: ServiceContext) -> int:
    return context.stores[OUTBOX].partitions


async def _stats(context: ServiceContext) -> object:
    return await context.stores[OUTBOX].stats()


async def _kept(context: ServiceContext) -> str:
    """How much waits for the broker."""
    pending = (await context.stores[OUTBOX].stats()).pending
    return f"the outbox keeps {pending} message{'s' if pending != 1 else ''}" if pending else ""


def _show_relays(metrics: Mapping[str, Any]) -> str:
    alive = [relay for relay in metrics["relays"] if relay.alive]
    held = sum(relay.partitions for relay in alive)
    return f"{len(alive)} ({held}/{metrics['partitions']})" if alive else "none"


def _show_oldest(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['outbox'].oldest_seconds:.1f}" if metrics["outbox"].pending else "-"


METRICS: Final = (
    Metric("relays", "who publishes, and how many partitions each holds", LEASES, _relays, watches=True),
    Metric("partitions", "partitions of the outbox", OUTBOX, _partitions),
    Metric("outbox", "messages that wait to be published", OUTBOX, _stats),
)
COLUMNS: Final = (
    Column("relays", "relays", _show_relays),
    Column("outbox", "outbox", lambda metrics: metrics["outbox"].pending),
    Column("oldest (s)", "outbox", _show_oldest),
)
NOTICES: Final = (Notice("outbox", OUTBOX, _kept, about=BROKER),)
