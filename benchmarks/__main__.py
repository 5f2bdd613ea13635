"""`python -m benchmarks`, `make bench`: each goal beside an earlier commit, the peers, and the same work by hand.

    make bench ARGS="--only hop-memory --only calls-10"     some rows
    make bench ARGS="--rounds 1 --scale 0.2"                fewer rounds, shorter
    make bench ARGS="--before 46ab8f2"                      the same on this commit, in turn with today's code
    make bench ARGS="--before 46ab8f2 --write"              and write docs/reference/benchmarks.md
    make bench ARGS="curve --write"                         latency against rate, with its plot
    make bench ARGS="order"                                 what one order of the shop costs, by service
    make bench ARGS="parts"                                 events, aggregates, projections, brokers beside code by hand

The run starts PostgreSQL, MariaDB and NATS. What is not available is left out, and the run says so. It fails if a case
finds that its work was not done right; a goal that is missed is shown, and fails the run with `--strict` only.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import curve, order, page, parts, results
from benchmarks.checkout import source_of
from benchmarks.goals import BEFORE, NOW, ROWS, Row
from benchmarks.ground import ROOT, Side, ground
from benchmarks.rounds import measure, shown

__all__ = ["main"]

_PEERS: Final = ROOT / ".venv-peers" / "bin" / "python"


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; returns the exit code."""
    if arguments[:1] == ["parts"]:
        return parts.main(arguments[1:])
    if arguments[:1] == ["order"]:
        return order.main(arguments[1:])
    if arguments[:1] == ["curve"]:
        return curve.main(arguments[1:])
    return _goals(_options(arguments))


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=[row.key for row in ROWS], metavar="ROW", help="this row")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much longer each measurement is (1)")
    parser.add_argument("--before", metavar="REV", help="an earlier commit, from the git history")
    parser.add_argument("--strict", action="store_true", help="fail where a goal is missed")
    parser.add_argument("--write", action="store_true", help="keep the figures, and write the page")
    return parser.parse_args(arguments)


def _goals(options: argparse.Namespace) -> int:
    rows = [row for row in ROWS if not options.only or row.key in options.only]
    sides = {NOW: Side(NOW)}
    if _peers_work():
        sides["peers"] = Side("peers", str(_PEERS), None)
    kept, missed = results.read(), False
    with ExitStack() as stack:
        if options.before:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="before-")))
            sides[BEFORE] = Side(BEFORE, source=source_of(options.before, ROOT, directory))
        made = stack.enter_context(ground(*_servers(rows)))
        print(f"Python {platform.python_version()}, {os.cpu_count()} processors, medians (smallest–largest)\n")
        for row in rows:
            measured = measure(row, made, sides, options.rounds, options.scale)
            print("\n".join(shown(row, measured, list(row.runs))), flush=True)
            missed |= any(results.judged(goal, measured).yes is False for goal in row.goals)
            kept[row.key] = measured
            if options.write:
                results.write(kept)
    failed = [row.key for row in rows if kept[row.key].failed]
    if options.write:
        page.write(kept)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed) or (options.strict and missed))


def _servers(rows: list[Row]) -> list[str]:
    """The servers that the rows need."""
    runs = [run for row in rows for run in row.runs.values()]
    found = {each for run in runs for each in (run.engine, run.broker)}
    return sorted(found & {"postgresql", "mariadb", "nats"})


def _peers_work() -> bool:
    return _PEERS.exists() and not subprocess.run([_PEERS, "-c", "import dbos, txoutbox"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
