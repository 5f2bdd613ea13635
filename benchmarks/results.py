"""What was measured, as it is kept in `benchmarks/results`, and the figures of it that are shown. Imports the goals."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.goals import NOW, Goal

__all__ = ["GOALS_FILE", "Measured", "Reached", "judged", "machine", "number", "read", "spread", "write"]

GOALS_FILE: Final = Path(__file__).parent / "results" / "goals.json"

_LIST: Final = re.compile(r"\[[^\[\]{}]*\]")
"""Of numbers: on one line."""


@dataclass(slots=True)
class Measured:
    """The rounds of a row: values by side and figure, why sides failed or were left out, the machine's load."""

    sides: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    load: float = 0.0

    def add(self, side: str, figures: Mapping[str, float]) -> None:
        """Note a round."""
        for name, value in figures.items():
            self.sides.setdefault(side, {}).setdefault(name, []).append(value)

    def values(self, side: str, figure: str) -> list[float]:
        """The values of all rounds; empty where there are none."""
        return self.sides.get(side, {}).get(figure, [])


@dataclass(frozen=True, slots=True)
class Reached:
    """A goal and the value that was measured for it; None where something of it is missing."""

    goal: Goal
    value: float | None

    @property
    def yes(self) -> bool | None:
        """Whether it is reached."""
        if self.value is None:
            return None
        if self.goal.at_most is not None:
            return self.value <= self.goal.at_most
        return self.goal.at_least is None or self.value >= self.goal.at_least


def judged(goal: Goal, measured: Measured) -> Reached:
    """Compare the medians."""
    ours = measured.values(NOW, goal.figure)
    if not ours:
        return Reached(goal, None)
    if not goal.beside:
        return Reached(goal, median(ours))
    theirs = measured.values(goal.beside, goal.other or goal.figure)
    return Reached(goal, median(ours) / median(theirs) if theirs and median(theirs) else None)


def spread(values: list[float]) -> str:
    """The median, and the smallest and largest value."""
    if not values:
        return "—"
    middle = number(median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}–{number(max(values))})"


def number(value: float) -> str:
    """A figure with about three digits."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def read(file: Path = GOALS_FILE) -> dict[str, Measured]:
    """What is kept, by the key of the row; rows that were measured in other runs stay."""
    if not file.exists():
        return {}
    return {key: Measured(**each) for key, each in json.loads(file.read_text(encoding="utf-8"))["rows"].items()}


def machine(file: Path = GOALS_FILE) -> str:
    """Where it was measured."""
    return str(json.loads(file.read_text(encoding="utf-8"))["machine"]) if file.exists() else ""


def write(rows: Mapping[str, Measured], file: Path = GOALS_FILE) -> None:
    """Keep it."""
    file.parent.mkdir(exist_ok=True)
    version = ".".join(platform.python_version_tuple()[:2])
    shortened = {
        "machine": f"Python {version}, {os.cpu_count()} processors for clients and servers together",
        "rows": {key: _shortened(each) for key, each in rows.items()},
    }
    text = _LIST.sub(lambda found: " ".join(found[0].split()), json.dumps(shortened, indent=1, ensure_ascii=False))
    file.write_text(text + "\n", encoding="utf-8")


def _shortened(measured: Measured) -> Mapping[str, object]:
    sides = {
        side: {name: [float(f"{value:.4g}") for value in values] for name, values in figures.items()}
        for side, figures in measured.sides.items()
    }
    return {**asdict(measured), "sides": sides, "load": round(measured.load, 1)}
