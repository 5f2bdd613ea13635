"""The figures of a benchmark and how they are shown: beside the same work written by hand, in the same run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Figure", "head", "show"]

_RATES = frozenset({"/s"})
_WIDTH = 52


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. A figure in "/s" should be large; in any other `unit` it is a time, which should be small."""

    what: str
    ours: float
    unit: str
    by_hand: float | None = None

    @property
    def ratio(self) -> float | None:
        """The speed relative to the work written by hand: 1 is as fast, 0.5 half as fast."""
        if self.by_hand is None:
            return None
        return self.ours / self.by_hand if self.unit in _RATES else self.by_hand / self.ours


def head() -> None:
    """Print the head of the columns."""
    print(f"{'':<{_WIDTH + 2}}{'ratio':>6}{'Freehold':>13}{'by hand':>13}")


def show(figure: Figure) -> None:
    """Print a line: first the ratio, which is about the same on other machines."""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    by_hand = "" if figure.by_hand is None else _number(figure.by_hand)
    print(f"  {figure.what:<{_WIDTH}}{ratio:>6}{_number(figure.ours):>13}{by_hand:>13} {figure.unit}", flush=True)


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
