"""The whole verification: wait until the shop is quiet, read everything, compare. Imports all of this package.

A busy shop can be verified too: orders are read last, and only those are compared that had ended before the reading
began, so that everything that other services have for them is already read. Where messages wait to be read, as after an
outage, everything younger than the oldest of them, and the orders that they are about, is not settled yet. A difference
that then remains for a moment (an event to a replica in transit) counts only if every repetition finds one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from freehold import Clock, Settings, SystemClock
from freehold.broker import BrokerOptions
from freehold.runtime import open_broker
from freehold_shop.assembly import SERVICES
from freehold_shop.providers.client import ProvidersClient
from freehold_shop.verify import loaders
from freehold_shop.verify.broker import load_broker
from freehold_shop.verify.checks import ALL_CHECKS
from freehold_shop.verify.engines import load_engine_findings
from freehold_shop.verify.messages import load_framework, load_restored_span, load_subscriptions, note_unsettled
from freehold_shop.verify.model import Verification
from freehold_shop.verify.models import load_kept, load_models, load_streams
from freehold_shop.verify.parts import load_overview_facts, load_service_facts
from freehold_shop.verify.quiet import Quietness, oldest_unread_seconds, wait_until_quiet
from freehold_shop.verify.readers import open_reader
from freehold_shop.verify.schema import SCHEMA
from freehold_shop.verify.scratch import Scratch

__all__ = ["LOOKS_MAX", "Target", "Verified", "verify"]

LOOKS_MAX = 3
SETTLING_SECONDS = 10.0
UNREAD_SECONDS_MAX = 600.0
"""A message that has waited for longer is stuck, and nothing is left out for it."""


@dataclass(frozen=True, slots=True)
class Target:
    """The shop to verify. `databases` are URLs by service; they and `broker_url` have passwords.

    The broker's prefix is that of the settings, as for the services themselves.
    """

    databases: Mapping[str, str]
    broker_url: str
    provider_url: str
    broker_options: BrokerOptions = field(default_factory=lambda: Settings.load("orders").broker_options)


@dataclass(frozen=True, slots=True)
class Verified:
    """The result, and whether the shop was quiet meanwhile."""

    verification: Verification
    quietness: Quietness


async def verify(target: Target, *, wait_seconds: float = 30.0, clock: Clock | None = None) -> Verified:
    """Verify a running shop; wait `wait_seconds` at most until it is quiet. Raises `Unavailable`."""
    clock = clock or SystemClock()
    looks = 0
    quietness = await _quietness(target, clock, wait_seconds)
    while True:
        verification = await _look(target, clock, quietness)
        looks += 1
        after = await _quietness(target, clock, 0.0)
        at_rest = quietness.quiet and after.quiet and after.mark == quietness.mark
        if verification.ok or at_rest or looks == LOOKS_MAX:
            return Verified(verification, quietness)
        await clock.sleep(SETTLING_SECONDS)
        # It was quiet only between two orders: from now on what is not settled is left out.
        quietness = replace(after, quiet=False)


async def _quietness(target: Target, clock: Clock, wait_seconds: float) -> Quietness:
    broker = open_broker(target.broker_url, target.broker_options)
    return await wait_until_quiet(target.databases, broker, clock, wait_seconds)


async def _unread_seconds(target: Target) -> float:
    broker = open_broker(target.broker_url, target.broker_options)
    return await oldest_unread_seconds(target.databases, broker)


async def _look(target: Target, clock: Clock, quietness: Quietness) -> Verification:
    now_ms = int(clock.now().timestamp() * 1000)
    settled_before_ms = None
    if not quietness.quiet:
        unread_seconds = min(await _unread_seconds(target), UNREAD_SECONDS_MAX)
        settled_before_ms = now_ms - int((SETTLING_SECONDS + unread_seconds) * 1000)
    with Scratch() as scratch:
        scratch.script(SCHEMA)
        moment = (now_ms, int(quietness.quiet), now_ms if settled_before_ms is None else settled_before_ms)
        scratch.load("INSERT INTO moment VALUES (?, ?, ?)", [moment])
        load_subscriptions(scratch, {name: each.service for name, each in SERVICES.items()})
        await load_broker(scratch, target.broker_url, target.broker_options.prefix)
        async with ProvidersClient(target.provider_url) as provider:
            await loaders.load_ledger(scratch, provider.summary_pages())
        await asyncio.to_thread(_load_services, scratch, target.databases, settled_before_ms)
        checks = await asyncio.to_thread(lambda: tuple(check(scratch) for check in ALL_CHECKS))
    return Verification.of(checks)


def _load_services(scratch: Scratch, databases: Mapping[str, str], settled_before_ms: int | None) -> None:
    own = {
        "payments": loaders.load_payments,
        "inventory": loaders.load_inventory,
        "shipping": loaders.load_shipping,
        "notifications": loaders.load_notifications,
    }
    for service in sorted(databases, key=lambda name: name == "orders"):
        with open_reader(databases[service], service) as reader:
            load_framework(scratch, service, reader)
            loaders.load_sources(scratch, service, reader)
            loaders.load_copies(scratch, service, reader)
            load_service_facts(scratch, service, reader)
            load_streams(scratch, service, reader)
            load_models(scratch, service, reader)
            if service in own:
                own[service](scratch, reader)
            if service == "overview":
                load_kept(scratch, reader)
                load_overview_facts(scratch, reader)
            if service == "orders":
                load_restored_span(scratch, reader)
                loaders.load_orders(scratch, reader, settled_before_ms)
    note_unsettled(scratch)
    load_engine_findings(scratch, databases)
