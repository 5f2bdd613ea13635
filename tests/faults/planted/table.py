"""`python -m tests.faults planted`: looks for each planted bug, and writes the table of what caught it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.faults.planted.registry import BUGS
from tests.faults.planted.search import Found, seed_that_finds, test_that_finds

__all__ = ["PAGE", "RESULTS", "SEEDS_MAX", "main", "page", "results"]

_ROOT: Final = Path(__file__).parent.parent.parent.parent
RESULTS: Final = Path(__file__).parent.parent / "results" / "planted.json"
PAGE: Final = _ROOT / "docs" / "reference" / "planted-bugs.md"
SEEDS_MAX: Final = 1000
_INTRODUCTION: Final = """\
# Planted bugs

Bugs that somebody could make in the library, and what catches each of them. They are patches of named functions in
`tests/faults/planted`; none is in the library. `python -m tests.faults planted --write` plants one after the other and
writes this page. `make test` plants each again: it begins with the seed of this page, and tries the next ones if a
change of the code has moved the steps at which a seed's faults happen.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Look for the bugs; 1 where one is not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults planted", description=__doc__)
    parser.add_argument("names", nargs="*", help="bugs to look for; all that have no result yet where none is named")
    parser.add_argument("--all", action="store_true", help="look for all again")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="how many seeds to try for each")
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin with no bug after this time")
    parser.add_argument("--workers", type=int, default=1, help="as for the other parts; bugs are looked for one by one")
    parser.add_argument("--write", action="store_true", help="write the results and the page")
    asked = parser.parse_args(arguments)
    known = {name: found for name, found in results().items() if name in BUGS}
    missed, end = [], time.monotonic() + asked.seconds
    for name in asked.names or (BUGS if asked.all else [name for name in BUGS if name not in known]):
        if time.monotonic() >= end:
            break
        bug = BUGS[name]
        found = test_that_finds(bug) if bug.scenario is None else seed_that_finds(bug, range(asked.seeds))
        sys.stdout.write(f"{name}: {found}\n")
        if found is None:
            missed.append(name)
        else:
            known[name] = found.document()
    if asked.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({name: known[name] for name in BUGS if name in known}, indent=1) + "\n")
        PAGE.write_text(page(known))
    return 1 if missed else 0


def results() -> dict[str, dict[str, Any]]:
    """What was found last, by name."""
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of the documentation."""
    lines = [
        f"{len(known)} bugs, {sum(BUGS[name].scenario is not None for name in known)} of them found by the simulation.",
        "",
        "| bug | what is wrong | caught by | seed | runs | virtual time | processor | what did not hold |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, Found(**known[name])) for name in BUGS if name in known),
        "",
    ]
    return _INTRODUCTION + "\n".join(lines)


def _row(name: str, found: Found) -> str:
    bug = BUGS[name]
    what = found.violation.replace("|", "/").replace("`", "'")
    by = f"simulation of `{bug.scenario.__name__}`" if bug.scenario is not None else f"`{bug.test}`"
    where = (
        f"{found.seed} | {found.runs} | {found.virtual_seconds:.0f} s | {found.seconds:.1f} s"
        if found.seed is not None
        else f"| | | {found.seconds:.0f} s"
    )
    return f"| `{name}` | {bug.what} | {by} | {where} | `{what}` |"
