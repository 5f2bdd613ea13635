"""Writes docs/reference/benchmarks.md from what is kept in `benchmarks/results`, so that each figure comes from a run.

The text that is not figures is in `page.md` beside this module. Imports the goals and the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.goals import BEFORE, NAMES, NOW, ROWS, Row
from benchmarks.ground import ROOT
from benchmarks.rates import CURVE_FILE, RATES, points
from benchmarks.results import Measured, judged, machine, number, read, spread

__all__ = ["PAGE_FILE", "made", "write"]

PAGE_FILE: Final = ROOT / "docs" / "reference" / "benchmarks.md"
_TEXT: Final = Path(__file__).with_name("page.md")


def write(kept: Mapping[str, Measured]) -> None:
    """Write the page."""
    PAGE_FILE.write_text(made(kept), encoding="utf-8")


def made(kept: Mapping[str, Measured]) -> str:
    """The page."""
    goals = [row for row in ROWS if not row.key.startswith("mariadb")]
    engines = [row for row in ROWS if row.key.startswith("mariadb")]
    return _TEXT.read_text(encoding="utf-8").format(
        conditions=_conditions(kept, machine()),
        goals="\n".join(_table(goals, kept)),
        engines="\n".join(_engines(engines, kept)),
        curve_conditions=_conditions(read(CURVE_FILE), machine(CURVE_FILE)),
        curve="\n".join(_curve(read(CURVE_FILE))),
    )


def _conditions(kept: Mapping[str, Measured], where: str) -> str:
    """Where it was measured, and how many processes wanted a processor; the benchmark itself keeps two busy."""
    loads = [measured.load for measured in kept.values()]
    return f"{where}; the load was {min(loads):.1f} to {max(loads):.1f}" if loads else "nothing is measured yet"


def _table(rows: Sequence[Row], kept: Mapping[str, Measured]) -> Iterator[str]:
    yield "| case | figure | before | now | beside | goal |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        measured = kept.get(row.key)
        if measured is None:
            continue
        for index, figure in enumerate(row.shown):
            what, unit = NAMES[figure]
            others = [
                f"{side} {spread(measured.values(side, figure))}"
                for side in row.runs
                if side not in {BEFORE, NOW} and measured.values(side, figure)
            ]
            yield _line(
                row.what if not index else "",
                f"{what}, {unit}" if unit else what,
                spread(measured.values(BEFORE, figure)) if BEFORE in row.runs else "",
                f"**{spread(measured.values(NOW, figure))}**",
                "; ".join(others),
                "; ".join(_verdicts(row, measured, figure)),
            )


def _verdicts(row: Row, measured: Measured, figure: str) -> Iterator[str]:
    for goal in row.goals:
        if goal.figure == figure:
            found = judged(goal, measured)
            if found.value is not None:
                word = "reached" if found.yes else "**missed**"
                yield f"{goal}: {number(found.value)}, {word}"


def _engines(rows: Sequence[Row], kept: Mapping[str, Measured]) -> Iterator[str]:
    yield "| case | figure | PostgreSQL | MariaDB |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        measured = kept.get(row.key)
        for index, figure in enumerate(row.shown if measured else ()):
            assert measured is not None
            what, unit = NAMES[figure]
            yield _line(
                row.what if not index else "",
                f"{what}, {unit}" if unit else what,
                spread(measured.values(NOW, figure)),
                spread(measured.values("MariaDB", figure)),
            )


def _curve(found: Mapping[str, Measured]) -> Iterator[str]:
    yield "| broker | asked for, /s | p50, ms | p99, ms | processor, ms a message | reached, /s |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for broker, measured in found.items():
        columns = {
            (side, name): dict(points(measured, side, name))
            for side in (BEFORE, NOW)
            for name in ("p50_ms", "p99_ms", "cpu_ms", "per_second")
        }
        for index, rate in enumerate(RATES):
            cells = [
                " → ".join(number(columns[side, name][rate]) for side in (BEFORE, NOW) if rate in columns[side, name])
                for name in ("p50_ms", "p99_ms", "cpu_ms", "per_second")
            ]
            yield _line(broker if not index else "", f"{rate:,.0f}", *cells)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
