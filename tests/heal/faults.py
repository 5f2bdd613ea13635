"""Each fault of `shop faults` as a scenario, and two of them at once. Imports the trial and the shop's client."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

from tests.heal.trial import Scenario, Trial, TrialPlan, begin, end, watch

from freehold.errors import FreeholdError, Unavailable
from freehold_shop.supervisor.client import FaultState, Shop
from freehold_shop.supervisor.plan import Profile

__all__ = ["TWO_AT_ONCE", "of_fault"]

_LETTERS: Final = frozenset({"poison-message"})
_CRASH: Final = "-crash"
_LOST: Final = "the broker has lost what it had confirmed"
_SIGNS: Final[Mapping[Profile, Mapping[str, str]]] = {
    Profile.EMBEDDED: {
        "inventory-stopped": "does not answer",
        "orders-stopped": "does not answer",
        "broker-down": "the broker's file is locked",
        "broker-at-its-limit": "SQLITE_FULL",
        "broker-emptied": _LOST,
        "orders-database-down": "the database's file is locked",
        "orders-database-full": "SQLITE_FULL",
        "orders-database-read-only": "SQLITE_READONLY",
        "orders-database-locked": "the database's file is locked",
    },
    Profile.SERVERS: {
        "inventory-stopped": "does not answer",
        "orders-stopped": "does not answer",
        "broker-down": "NATS is not connected",
        "broker-at-its-limit": "the stream of messages is at its limit",
        "broker-emptied": _LOST,
        "orders-database-down": "55000",
        "orders-database-full": "53100",
        "orders-database-read-only": "25006",
        "orders-database-locked": "locked by another session",
    },
}
"""What readiness must say while a fault is on: the engine's own reason. Of the others it need not say anything."""
_PAIRS: Final = (
    ("orders-database-down", "orders-database-full"),
    ("orders-database-locked", "orders-database-read-only"),
    ("broker-at-its-limit", "broker-down"),
)


def of_fault(fault: FaultState, profile: Profile) -> Scenario:
    """A fault that begins, holds until readiness has said what is wrong, and is healed."""
    sign = _SIGNS[profile].get(fault.name, "")

    async def happens(shop: Shop, trial: Trial, plan: TrialPlan) -> None:
        await begin(shop, fault.name, plan)
        await watch(shop, trial, plan, plan.hold_seconds if fault.lasting else plan.moment_seconds, sign)
        if fault.lasting:
            trial.healing_seconds = await end(shop, fault.name, plan)

    kills = fault.name.removesuffix(_CRASH) if fault.name.endswith(_CRASH) else ""
    return Scenario(fault.name, happens, promises_letters=fault.name in _LETTERS, kills=kills)


async def _two_at_once(shop: Shop, trial: Trial, plan: TrialPlan) -> None:
    """Two that touch the same thing, ended in either order; and a broker that is away and has lost everything."""
    for pair in _PAIRS:
        for ending in itertools.permutations(pair):
            for fault in pair:
                await begin(shop, fault, plan)
            for fault in ending:
                trial.healing_seconds += await end(shop, fault, plan)
    both = ("broker-down", "broker-emptied")
    for fault in both:
        await begin(shop, fault, plan)
    if shop.profile is Profile.SERVERS:
        await _refuses_while_the_broker_is_away(shop)
    healed = {state.name for state in await shop.heal()}
    if healed != set(both):
        raise FreeholdError(f"of {' and '.join(both)} only {', '.join(sorted(healed))} ended")


async def _refuses_while_the_broker_is_away(shop: Shop) -> None:
    try:
        await shop.heal("broker-emptied")
    except Unavailable as error:
        if "broker-emptied stays on: the broker is not available" in str(error):
            return
        raise
    raise FreeholdError("broker-emptied was healed while the broker was away")


TWO_AT_ONCE: Final = Scenario("two-at-once", _two_at_once)
