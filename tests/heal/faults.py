"""A scenario for each fault of `shop faults`, and one with two faults at once. Imports the trial, the shop's client."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

from tests.heal.trial import Scenario, Trial, TrialPlan, begin, end, watch

from freehold.errors import FreeholdError, Unavailable
from freehold_shop.supervisor.client import FaultState, Shop
from freehold_shop.supervisor.plan import Profile

__all__ = ["TWO_AT_ONCE", "of_fault"]

_MAKE_DEAD_LETTERS: Final = frozenset({"poison-message"})
_CRASH: Final = "-crash"
_LOST: Final = "the broker has lost what it had confirmed"
_SIGNS: Final[Mapping[str, Mapping[str, str]]] = {
    Profile.EMBEDDED: {
        "broker-down": "the broker's file is locked",
        "broker-at-its-limit": "SQLITE_FULL",
    },
    Profile.SERVERS: {
        "broker-down": "NATS is not connected",
        "broker-at-its-limit": "the stream of messages is at its limit",
    },
    "sqlite": {
        "orders-database-down": "the database's file is locked",
        "orders-database-full": "SQLITE_FULL",
        "orders-database-read-only": "SQLITE_READONLY",
        "orders-database-locked": "the database's file is locked",
    },
    "postgresql": {
        "orders-database-down": "55000",
        "orders-database-full": "53100",
        "orders-database-read-only": "25006",
        "orders-database-locked": "locked by another session",
    },
    "mariadb": {
        "orders-database-down": "4151",
        "orders-database-full": "1021",
        "orders-database-read-only": "1290",
        "orders-database-locked": "1205",
        "orders-database-frozen": "did not",
    },
}
_SIGNS_EVERYWHERE: Final[Mapping[str, str]] = {
    "inventory-stopped": "does not answer",
    "orders-stopped": "does not answer",
    "broker-emptied": _LOST,
}
"""What readiness must report while a fault is on: the engine's own reason. For other faults nothing is required."""
_PAIRS: Final = (
    ("orders-database-down", "orders-database-full"),
    ("orders-database-read-only", "orders-database-locked"),
    ("broker-at-its-limit", "broker-down"),
)


def of_fault(fault: FaultState, shop: Shop) -> Scenario:
    """The scenario of a fault: it begins, lasts until readiness has reported it, and is healed."""
    signs = {**_SIGNS_EVERYWHERE, **_SIGNS[shop.profile], **_SIGNS[shop.engine("orders")]}
    sign = signs.get(fault.name, "")

    async def happens(shop: Shop, trial: Trial, plan: TrialPlan) -> None:
        await begin(shop, fault.name, plan)
        await watch(shop, trial, plan, plan.hold_seconds if fault.lasting else plan.moment_seconds, sign)
        if fault.lasting:
            trial.healing_seconds = await end(shop, fault.name, plan)

    kills = fault.name.removesuffix(_CRASH) if fault.name.endswith(_CRASH) else ""
    return Scenario(fault.name, happens, makes_dead_letters=fault.name in _MAKE_DEAD_LETTERS, kills=kills)


async def _two_at_once(shop: Shop, trial: Trial, plan: TrialPlan) -> None:
    """Pairs of faults of one database or of the broker, ended in either order; and a broker both down and emptied."""
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
        await _cannot_heal_while_the_broker_is_down(shop)
    healed = {state.name for state in await shop.heal()}
    if healed != set(both):
        raise FreeholdError(f"of {' and '.join(both)} only {', '.join(sorted(healed))} ended")


async def _cannot_heal_while_the_broker_is_down(shop: Shop) -> None:
    try:
        await shop.heal("broker-emptied")
    except Unavailable as error:
        if "broker-emptied stays on: the broker is not available" in str(error):
            return
        raise
    raise FreeholdError("broker-emptied was healed while the broker was down")


TWO_AT_ONCE: Final = Scenario("two-at-once", _two_at_once)
