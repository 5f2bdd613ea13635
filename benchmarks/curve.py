"""`python -m benchmarks curve`: the time from commit to handler, and the processor time of a message, against the rate.

Rates from 10 to 5,000 a second are asked for. At the highest ones more is asked for than the machine can do: a
publisher has 16 transactions in progress at most, and what was reached is kept beside. Imports the ground, the results
and the plot.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import page, plot, results
from benchmarks.cases.conditions import Conditions
from benchmarks.checkout import source_of
from benchmarks.goals import BEFORE, NOW
from benchmarks.ground import ROOT, CaseFailed, Ground, Side, ground
from benchmarks.rates import CURVE_FILE, RATES, points
from benchmarks.results import Measured

__all__ = ["main"]

_VARIANTS: Final = {"memory": "together", "embedded": "apart", "nats": "apart"}


def main(arguments: Sequence[str]) -> int:
    """Measure, and with `--write` keep it and draw it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks curve", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often each side is measured (1)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each rate is asked for (5)")
    parser.add_argument("--before", metavar="REV", help="an earlier commit, from the git history")
    parser.add_argument("--write", action="store_true", help="keep the figures, and draw the plot")
    options = parser.parse_args(arguments)
    sides, found, failed = [Side(NOW)], {}, False
    with ExitStack() as stack:
        if options.before:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="before-")))
            sides.append(Side(BEFORE, source=source_of(options.before, ROOT, directory)))
        made = stack.enter_context(ground("postgresql", "nats"))
        for broker in _VARIANTS:
            found[broker] = _measure(made, broker, sides, options.rounds, options.seconds)
            failed |= bool(found[broker].failed)
            for line in _lines(broker, found[broker]):
                print(line, flush=True)
    if options.write:
        results.write(found, CURVE_FILE)
        plot.write(found)
        page.write(results.read())
    return int(failed)


def _measure(made: Ground, broker: str, sides: Sequence[Side], rounds: int, seconds: float) -> Measured:
    measured = Measured(load=os.getloadavg()[0])
    if broker in made.missing:
        measured.left_out[NOW] = made.missing[broker]
        return measured
    conditions = Conditions(variant=_VARIANTS[broker], seconds=seconds, rates_per_second=RATES)
    for turn in range(rounds):
        for side in sides[:: -1 if turn % 2 else 1]:
            try:
                measured.add(side.name, made.run(side, "benchmarks.cases.hop", conditions, broker=broker))
            except CaseFailed as error:
                measured.failed[side.name] = str(error)
    return measured


def _lines(broker: str, measured: Measured) -> list[str]:
    lines = [f"{broker}  (load {measured.load:.1f})"]
    for side in measured.sides:
        columns: Mapping[str, Mapping[float, float]] = {
            name: dict(points(measured, side, name)) for name in ("p50_ms", "p99_ms", "cpu_ms", "per_second")
        }
        for rate in RATES:
            shown = "  ".join(f"{name} {results.number(column[rate]):>7}" for name, column in columns.items())
            lines.append(f"  {side:<8}{rate:>6,.0f}/s  {shown}")
    lines += [f"  {side} FAILED: {reason}" for side, reason in {**measured.failed, **measured.left_out}.items()]
    return lines
