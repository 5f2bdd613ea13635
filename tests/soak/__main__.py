"""`python -m tests.soak`: faults drawn by a seed against a whole running shop under load; then it heals, is verified.

The exit code is 0 where nothing was violated; else the last line is the command that repeats the run. `--write` keeps
the result and writes the table, docs/reference/soak.md. Imports the run and its page.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import uvloop
from tests.soak.page import PAGE, write_result
from tests.soak.place import enter_namespace
from tests.soak.run import Result, Wanted, soak

from freehold_shop.servers import find_mariadb, find_nats_server, find_postgres_binaries
from freehold_shop.servers.process import ServerUnavailable
from freehold_shop.supervisor.plan import Profile


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="only these; all without it")
    parser.add_argument("--profile", action="append", choices=[each.value for each in Profile], help="both without it")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long faults happen")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="draws the faults and the orders")
    parser.add_argument("--rate", type=float, default=2.0, metavar="N", help="orders a second")
    parser.add_argument("--write", action="store_true", help=f"keep the results and write {PAGE.name}")
    given = parser.parse_args()
    enter_namespace(sys.argv[1:])
    failed = 0
    for name in given.profile or [each.value for each in Profile]:
        if missing := _missing(Profile(name)):
            _print(f"left out: profile {name}: {missing}")
            failed += os.environ.get("REQUIRE_SERVERS") == "1"
            continue
        wanted = Wanted(Profile(name), given.minutes, given.seed, given.rate, given.faults)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(soak(wanted, lambda line, name=name: _print(f"{name} {line}")))  # type: ignore[misc]  # a default that binds the name
        _show(result, given.faults)
        failed += bool(result.violations)
        if given.write:
            write_result(result)
    sys.exit(1 if failed else 0)


def _missing(profile: Profile) -> str:
    """The error of a server that the profile needs and that is not available; empty for none."""
    if profile is Profile.EMBEDDED:
        return ""
    try:
        find_nats_server()
        find_mariadb()
        find_postgres_binaries()
    except ServerUnavailable as error:
        return str(error)
    return ""


def _show(result: Result, faults: list[str]) -> None:
    for each in result.left_out:
        _print(f"left out: {each}")
    for each in result.unended:
        _print(f"fault: {each}")
    for each, count in {**result.refused, **result.asked_again}.items():
        _print(f"answered: {count} times {each}")
    _print(f"longest request: {result.longest_seconds:.1f} s, {result.longest}")
    _print(f"all answered {result.answered_seconds:.1f} s after the last fault")
    for each in result.explained:
        _print(f"explained: {each}")
    for each in result.violations:
        _print(f"VIOLATION: {each}")
    _print(
        f"{result.profile}: {sum(result.faults.values())} faults of {len(result.faults)} kinds, "
        f"{result.orders} orders, {result.kills} kills, {result.restarts} restarts, {result.invariants} invariants, "
        f"{len(result.violations)} violations; ready after {result.ready_seconds:.1f} s, quiet and verified after "
        f"{result.quiet_seconds:.1f} s"
    )
    if result.violations:
        only = "".join(f" {each}" for each in faults)
        options = f"--profile {result.profile} --seed {result.seed}{only}"
        _print(f'make soak MINUTES={result.minutes:g} ARGS="{options}"')


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
