"""The scenarios of a column: on one shop while everything heals, and on a new one after a scenario that did not.

Imports the scenarios and the shop's client.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from tests.heal import restart
from tests.heal.faults import TWO_AT_ONCE, of_fault
from tests.heal.losses import EMPTIED_THREE_TIMES
from tests.heal.table import line
from tests.heal.trial import Trial, TrialPlan, carry_out

from freehold.errors import ConfigurationError, FreeholdError
from freehold_shop.faults.fault import Trouble
from freehold_shop.supervisor.client import Shop, start_shop
from freehold_shop.supervisor.plan import Engine, Plan, Profile, parse_engines

__all__ = ["COLUMNS", "run_column"]

_START_SECONDS = 300.0
_Case = Callable[[Shop, TrialPlan], Awaitable[Trial]]


@dataclass(frozen=True, slots=True)
class Column:
    """What the scenarios run on: a profile, and engines. `faults`: only these, besides `supervisor-killed`."""

    profile: Profile
    engines: Mapping[str, Engine] = field(default_factory=dict)
    faults: frozenset[str] | None = None


_ON_MARIADB: Final = frozenset(
    {
        *(f"orders-database-{each}" for each in (*Trouble, "crash")),
        "orders-sessions-ended",
        "orders-crash",
        "overview-crash",
        "orders-stopped",
        "broker-down",
        "broker-emptied",
        TWO_AT_ONCE.name,
        restart.NAME,
    }
)
COLUMNS: Final[Mapping[str, Column]] = {
    "embedded": Column(Profile.EMBEDDED),
    "servers": Column(Profile.SERVERS),
    "mariadb": Column(Profile.SERVERS, parse_engines(["all=mariadb"]), _ON_MARIADB),
}
"""By name. What does not depend on the database is tried on PostgreSQL alone."""


async def run_column(name: str, plan: TrialPlan, wanted: Sequence[str], report: Callable[[str], None]) -> list[Trial]:
    """Run the wanted scenarios, all if none is named, and report a line for each.

    Raises `ConfigurationError` for an unknown name.
    """
    column = COLUMNS[name]
    trials: list[Trial] = []
    left: dict[str, _Case] | None = None
    while left is None or left:
        directory = Path(tempfile.mkdtemp(prefix="freehold-heal-"))
        # PostgreSQL's account must be able to enter.
        directory.chmod(0o755)
        try:
            shop = await start_shop(
                Plan(directory, profile=column.profile, instances=plan.instances, engines=column.engines),
                ready_seconds=_START_SECONDS,
            )
        except FreeholdError as error:
            return [*trials, *(_not_tried(name, error) for name in left or wanted or ["all"])]
        try:
            left = await _cases(shop, column, wanted) if left is None else left
            trials += await _until_one_fails(name, shop, left, plan, report)
        finally:
            await shop.stop()
        if trials and not trials[-1].healed:
            report(f"  the state directory is {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return trials


def _not_tried(name: str, error: FreeholdError) -> Trial:
    return Trial(name, problems=[f"not tried: {error}"])


async def _cases(shop: Shop, column: Column, wanted: Sequence[str]) -> dict[str, _Case]:
    """The wanted cases by name, in the order in which they run. The last one stops the shop."""
    scenarios = [of_fault(state, shop) for state in await shop.faults()]
    scenarios += [TWO_AT_ONCE, EMPTIED_THREE_TIMES]
    cases: Mapping[str, _Case] = {
        **{each.name: partial(carry_out, each) for each in scenarios},
        restart.NAME: restart.survive_the_supervisor,
    }
    unknown = set(wanted) - cases.keys()
    if unknown:
        raise ConfigurationError(
            f"there is no fault {', '.join(sorted(unknown))}", hint=f"one of {', '.join(sorted(cases))}"
        )
    chosen = {name for name in cases if column.faults is None or name in column.faults}
    return {name: case for name, case in cases.items() if (name in wanted if wanted else name in chosen)}


async def _until_one_fails(
    column: str, shop: Shop, left: dict[str, _Case], plan: TrialPlan, report: Callable[[str], None]
) -> list[Trial]:
    trials: list[Trial] = []
    while left:
        began = time.monotonic()
        case = left.pop(next(iter(left)))
        trials.append(await case(shop, plan))
        report(f"{column} {time.monotonic() - began:5.1f} s  {line(trials[-1])}")
        if not trials[-1].healed:
            break
    return trials
