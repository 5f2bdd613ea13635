"""`python -m tests.faults crash-points`: kills processes at every crash point of the library, continues where the last
run stopped, and writes docs/reference/crash-points.json and .md.

With `--kill POINT#NUMBER`, once or twice, it repeats one run. Imports the parts, the campaign and the page.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.faults.crashes.campaign import run_one, run_part
from tests.faults.crashes.page import write_page
from tests.faults.crashes.parts import PARTS

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Parse the arguments and run; 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults crash-points", description=__doc__)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="all without it")
    parser.add_argument("--seconds", type=float, default=3600.0, help="no run begins later than this; default 3600")
    parser.add_argument("--workers", type=int, default=2, help="processes that run at the same time; default 2")
    parser.add_argument(
        "--kill", action="append", default=[], metavar="POINT#NUMBER", help="one run, in the part named"
    )
    given = parser.parse_args(arguments)
    parts = [PARTS[name] for name in given.part or PARTS]
    if given.kill:
        run = run_one(parts[0], given.kill)
        sys.stdout.write(
            f"{run.name}: {run.reached} killed, {run.seconds:.1f} s; {'; '.join(run.violations) or 'ok'}\n"
        )
        return 1 if run.violations else 0
    until = time.monotonic() + given.seconds
    found = [violation for part in parts for violation in run_part(part, until, given.workers)]
    write_page()
    for each in found:
        sys.stdout.write(f"{each}\n")
    return 1 if found else 0
