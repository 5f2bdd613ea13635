"""The figures of the curve: what was measured at each rate. Imports the results."""

from __future__ import annotations

from statistics import median
from typing import Final

from benchmarks.results import GOALS_FILE, Measured

__all__ = ["CURVE_FILE", "RATES", "points"]

RATES: Final = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 5000.0)
CURVE_FILE: Final = GOALS_FILE.with_name("curve.json")


def points(measured: Measured, side: str, figure: str) -> list[tuple[float, float]]:
    """Rates asked for, each with the median of the figure."""
    return [(rate, median(values)) for rate in RATES if (values := measured.values(side, f"{figure}@{rate:g}"))]
