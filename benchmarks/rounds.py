"""Measures rows of the table: all sides of a row in turn, so many rounds, each run in a process of its own.

Imports the ground, the goals and the results.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from benchmarks.cases.conditions import Conditions
from benchmarks.goals import BEFORE, NAMES, Goal, Row, Run
from benchmarks.ground import CaseFailed, Ground, Side
from benchmarks.results import Measured, judged, number, spread

__all__ = ["measure", "shown"]

_FAILURES_MAX = 2


def measure(row: Row, ground: Ground, sides: Mapping[str, Side], rounds: int, scale: float) -> Measured:
    """Measure a row. `scale` shortens or prolongs what it does. A side that fails twice is not tried again."""
    measured, failures = Measured(), dict.fromkeys(row.runs, 0)
    wanted = [name for name, run in row.runs.items() if _available(name, run, ground, sides, measured)]
    loads = []
    for turn in range(min(rounds, row.rounds_max)):
        first = turn % max(1, len(wanted))
        for name in wanted[first:] + wanted[:first]:
            run = row.runs[name]
            loads.append(os.getloadavg()[0])
            try:
                figures = ground.run(
                    _side(name, run, sides),
                    run.module,
                    _scaled(run, scale),
                    engine=run.engine,
                    broker=run.broker,
                )
            except CaseFailed as error:
                measured.failed[name] = str(error)
                failures[name] += 1
                if failures[name] >= _FAILURES_MAX:
                    wanted = [each for each in wanted if each != name]
                continue
            measured.add(name, figures)
    measured.load = sum(loads) / len(loads) if loads else 0.0
    return measured


def _side(name: str, run: Run, sides: Mapping[str, Side]) -> Side:
    if run.peer:
        return replace(sides["peers"], name=name)
    return sides.get(name, replace(sides["now"], name=name))


def _available(name: str, run: Run, ground: Ground, sides: Mapping[str, Side], measured: Measured) -> bool:
    """Whether a side can be measured; otherwise the reason is noted."""
    if name == BEFORE and BEFORE not in sides:
        return False
    missing = [ground.missing[each] for each in (run.engine, run.broker) if each in ground.missing]
    if run.peer and "peers" not in sides:
        missing.append("its environment could not be made: make .venv-peers/.stamp")
    if missing:
        measured.left_out[name] = missing[0]
    return not missing


def _scaled(run: Run, scale: float) -> Conditions:
    conditions = run.conditions
    return replace(
        conditions,
        seconds=conditions.seconds * scale,
        messages=max(20, int(conditions.messages * scale)) if conditions.messages else 0,
    )


def shown(row: Row, measured: Measured, order: Sequence[str]) -> Iterator[str]:
    """Lines for a terminal: each figure of each side, then the goals."""
    yield f"{row.what}  (load {measured.load:.1f})"
    for figure in row.shown:
        what, unit = NAMES[figure]
        found = [f"{side} {spread(measured.values(side, figure))}" for side in order if measured.values(side, figure)]
        yield f"  {what + (f', {unit}' if unit else ''):<20}{'   '.join(found)}"
    for side, reason in measured.left_out.items():
        yield f"  {side} is left out: {reason}"
    for side, reason in measured.failed.items():
        yield f"  {side} FAILED: {reason}"
    yield from (f"  {_verdict(goal, measured)}" for goal in row.goals if not _needless(goal, measured))


def _needless(goal: Goal, measured: Measured) -> bool:
    return bool(goal.beside) and goal.beside not in measured.sides


def _verdict(goal: Goal, measured: Measured) -> str:
    found = judged(goal, measured)
    if found.value is None:
        return f"not measured: {goal}"
    return f"{'reached' if found.yes else 'MISSED'}: {goal}: {number(found.value)}"
