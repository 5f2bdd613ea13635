"""What a benchmark found, and how it is shown: beside the same written by hand, in the same run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Figure", "head", "show"]

_RATES = frozenset({"/s"})
_WIDTH = 52


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. `db_tx` is "/s" for what should be large; any other is a time, which should be small."""

    what: str
    ours: float
    db_tx: str
    by_hand: float | None = None

    @property
    def ratio(self) -> float | None:
        """How fast we are beside what is written by hand: 1 is as fast, 0.5 half as fast."""
        if self.by_hand is None:
            return None
        return self.ours / self.by_hand if self.db_tx in _RATES else self.by_hand / self.ours


def head() -> None:
    """Print what the columns are."""
    print(f"{'':<{_WIDTH + 2}}{'ratio':>6}{'Freehold':>13}{'by hand':>13}")


def show(figure: Figure) -> None:
    """Print a line: the ratio first, since it is what another machine would show as well."""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    by_hand = "" if figure.by_hand is None else _number(figure.by_hand)
    print(f"  {figure.what:<{_WIDTH}}{ratio:>6}{_number(figure.ours):>13}{by_hand:>13} {figure.db_tx}", flush=True)


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
