"""`python -m tests.heal`: every fault of the shop on each profile, and those that concern databases with all of them on
MariaDB as well, under load, until the shop has healed.

The last line counts the trials that passed and failed; the exit code is 0 where none failed. `--write` writes the
table, docs/reference/faults.md. Imports the profiles' runs and their table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence

from tests.heal.profile import COLUMNS, run_column
from tests.heal.table import PAGE, page
from tests.heal.trial import Trial, TrialPlan

from freehold.errors import ConfigurationError
from freehold_shop.servers import find_mariadb, find_nats_server, find_postgres_binaries
from freehold_shop.servers.process import ServerUnavailable
from freehold_shop.supervisor.plan import Profile

_PLAN = TrialPlan()


def main() -> None:
    """Parse the arguments and run the trials."""
    parser = argparse.ArgumentParser(prog="python -m tests.heal", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="only these; all without it")
    parser.add_argument("--profile", action="append", choices=list(COLUMNS), help="all without it")
    parser.add_argument(
        "--hold", type=float, default=_PLAN.hold_seconds, metavar="SECONDS", help="how long a fault lasts"
    )
    parser.add_argument("--rate", type=float, default=_PLAN.orders_per_second, metavar="N", help="orders a second")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = parser.parse_args()
    plan = TrialPlan(orders_per_second=given.rate, hold_seconds=given.hold)
    began = time.monotonic()
    profiles = list(given.profile or COLUMNS)
    missing = {profile: reason for profile in profiles if (reason := _missing(profile))}
    left_out = [f"profile {profile}: {reason}" for profile, reason in missing.items()]
    if os.environ.get("REQUIRE_SERVERS") != "1":
        profiles = [profile for profile in profiles if profile not in missing]
    try:
        results = asyncio.run(_run(profiles, plan, given.faults))
    except ConfigurationError as error:
        sys.exit(str(error))
    if given.write:
        PAGE.write_text(page("make heal ARGS=--write", results), encoding="utf-8")
    left_out += [f"profile {each}: not asked for" for each in COLUMNS if given.profile and each not in given.profile]
    left_out += [f"everything but {', '.join(given.faults)}: not asked for"] if given.faults else []
    _finish(results, left_out, time.monotonic() - began)


def _missing(name: str) -> str:
    """The error of a server that the profile needs and that is not available; empty for none."""
    try:
        column = COLUMNS[name]
        if column.profile is Profile.SERVERS:
            find_nats_server()
            (find_mariadb if column.engines else find_postgres_binaries)()
    except ServerUnavailable as error:
        return str(error)
    return ""


async def _run(profiles: Sequence[str], plan: TrialPlan, wanted: Sequence[str]) -> Mapping[str, Sequence[Trial]]:
    """Run the profiles at the same time, since the shop of each waits most of the time."""
    results = await asyncio.gather(*(run_column(profile, plan, wanted, _print) for profile in profiles))
    return dict(zip(profiles, results, strict=True))


def _finish(results: Mapping[str, Sequence[Trial]], left_out: Sequence[str], seconds: float) -> None:
    """Print what was left out and the counts, and exit."""
    trials = [trial for each in results.values() for trial in each]
    passed = sum(trial.healed for trial in trials)
    for each in left_out:
        _print(f"left out: {each}")
    _print(f"in {seconds / 60:.1f} min, with {sum(trial.placed for trial in trials)} orders:")
    _print(f"{passed} passed, {len(trials) - passed} failed")
    sys.exit(0 if trials and passed == len(trials) else 1)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
