"""Draws latency against rate as SVG, light or dark as the reader's system is. Imports the results.

The picture is as wide as a phone: its letters are legible there, and larger elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.goals import BEFORE, NOW
from benchmarks.ground import ROOT
from benchmarks.rates import RATES, points
from benchmarks.results import Measured, number

__all__ = ["PLOT_FILE", "draw", "write"]

PLOT_FILE: Final = ROOT / "docs" / "assets" / "latency.svg"
_WIDTH: Final = 400
_EDGE, _LEFT, _RIGHT, _PANEL, _GAP, _TOP = 10, 44, 384, 150, 76, 64
_KEY_HEIGHT: Final = 18
_SIDES: Final = (("now", "now, p50"), ("now dashed", "p99"), ("before", "before, p50"), ("before dashed", "p99"))
_NAMES: Final = {"nats": "NATS"}
_TITLES: Final = {
    "memory": "memory, one process",
    "embedded": "embedded, handler in another process",
    "nats": "NATS, handler in another process",
}
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.title { font-weight: 600; font-size: 14px; }
.card { fill: var(--card); }
.grid { stroke: var(--grid); stroke-width: 1; }
polyline { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
.dashed { stroke-dasharray: 6 4; stroke-width: 2; }
.now, .memory { stroke: var(--blue); } .before, .embedded { stroke: var(--orange); } .nats { stroke: var(--green); }
:root { --card: #ffffff; --ink: #1b1f24; --grid: #d5d9de; --blue: #1a5fb4; --orange: #b4550c; --green: #1c7a4a; }
@media (prefers-color-scheme: dark) {
  :root { --card: #16191d; --ink: #e6e6e6; --grid: #3a4048; --blue: #6cb6e0; --orange: #e8a35c; --green: #7fc97f; }
}
"""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a panel, by the classes that style it."""

    style: str
    points: Sequence[tuple[float, float]]


def write(found: Mapping[str, Measured], file: Path = PLOT_FILE) -> None:
    """Draw it into a file."""
    file.write_text(draw(found), encoding="utf-8")


def draw(found: Mapping[str, Measured]) -> str:
    """Draw a panel for each broker, and one for the processor time."""
    panels = [(f"{_TITLES[broker]}, ms", _latencies(measured)) for broker, measured in found.items()]
    panels.append(("processor time, ms a message (dashed: before)", _processor(found)))
    height = _TOP + len(panels) * (_PANEL + _GAP) + _KEY_HEIGHT - 28
    sides = {side for measured in found.values() for side in measured.sides}
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH * 1.4:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>Time from commit to handler, and processor time, against the rate</title>",
        f'<style>{_STYLE}</style><rect class="card" width="{_WIDTH}" height="{height}" rx="6"/>',
        *_key(22, [(style, text) for style, text in _SIDES if style.partition(" ")[0] in sides]),
    ]
    for index, (title, lines) in enumerate(panels[:-1]):
        parts += _panel(_TOP + index * (_PANEL + _GAP), title, lines)
    top = _TOP + (len(panels) - 1) * (_PANEL + _GAP)
    parts += _panel(top + _KEY_HEIGHT, *panels[-1], title_above=_KEY_HEIGHT)
    parts += _key(top + 4, [(broker, _NAMES.get(broker, broker)) for broker in found])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _latencies(measured: Measured) -> list[_Line]:
    return [
        _Line(f"{side}{' dashed' if figure == 'p99_ms' else ''}", points(measured, side, figure))
        for side in (BEFORE, NOW)
        for figure in ("p50_ms", "p99_ms")
    ]


def _processor(found: Mapping[str, Measured]) -> list[_Line]:
    return [
        _Line(f"{broker}{' dashed' if side == BEFORE else ''}", points(measured, side, "cpu_ms"))
        for broker, measured in found.items()
        for side in (BEFORE, NOW)
    ]


def _key(y: int, shown: Sequence[tuple[str, str]]) -> Iterator[str]:
    x = float(_EDGE)
    for style, text in shown:
        yield f'<polyline class="{style}" points="{x:.0f},{y - 4} {x + 24:.0f},{y - 4}"/>'
        yield f'<text x="{x + 29:.0f}" y="{y}">{text}</text>'
        x += 44 + 7.5 * len(text)


def _panel(top: int, title: str, lines: Sequence[_Line], title_above: int = 0) -> Iterator[str]:
    """A panel with logarithmic axes."""
    values = [value for line in lines for _, value in line.points if value > 0] or [1.0, 10.0]
    ticks = _ticks(min(values), max(values))
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def x(rate: float) -> float:
        first, last = math.log(RATES[0]), math.log(RATES[-1])
        return _LEFT + (_RIGHT - _LEFT) * (math.log(rate) - first) / (last - first)

    def y(value: float) -> float:
        return top + _PANEL - _PANEL * (math.log(max(value, ticks[0])) - low) / (high - low)

    yield f'<text class="title" x="{_EDGE}" y="{top - 14 - title_above}">{title}</text>'
    for tick in ticks:
        yield f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for rate in RATES:
        yield f'<line class="grid" x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{top}" y2="{top + _PANEL}"/>'
        text = f"{rate:g}" if rate < 1000 else f"{rate / 1000:g}k"
        yield f'<text x="{x(rate):.1f}" y="{top + _PANEL + 16}" text-anchor="middle">{text}</text>'
    yield f'<text x="{_RIGHT}" y="{top + _PANEL + 32}" text-anchor="end">messages asked for, a second</text>'
    for line in lines:
        if line.points:
            at = " ".join(f"{x(rate):.1f},{y(value):.1f}" for rate, value in line.points)
            told = ", ".join(f"{rate:g}/s: {number(value)}" for rate, value in line.points)
            yield f'<polyline class="{line.style}" points="{at}"><title>{line.style}: {told}</title></polyline>'


def _ticks(smallest: float, largest: float) -> list[float]:
    """1, 3, 10, 30, … from below the smallest value to above the largest."""
    steps = [factor * 10.0**power for power in range(-2, 6) for factor in (1, 3)]
    first = max(index for index, step in enumerate(steps) if step <= smallest or index == 0)
    last = min(index for index, step in enumerate(steps) if step >= largest)
    return steps[first : max(last, first + 1) + 1]
