"""A passage of a crash point: the moment at which a process is killed. Testing: imports the crash points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from freehold.crash_points import ANY, CRASH_POINTS

__all__ = ["Passage", "read_passages"]


@dataclass(frozen=True, slots=True)
class Passage:
    """The `occurrence`th time, from 1, that a process passes a point of `freehold.crash_points.CRASH_POINTS`; of any
    point where `point` is `*`. As text: `outbox.published#3`. First occurrences come first in order.

    Raises `ValueError` for a point that does not exist, and an occurrence below 1.
    """

    point: str
    occurrence: int = 1

    def __post_init__(self) -> None:
        """Refuse what no process passes."""
        if self.point != ANY and self.point not in CRASH_POINTS:
            raise ValueError(f"there is no crash point {self.point!r}")
        if self.occurrence < 1:
            raise ValueError(f"{self.point!r} is passed for the first time at occurrence 1")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a passage; without a number it is the first one."""
        point, _, occurrence = text.partition("#")
        return cls(point, int(occurrence or 1))

    def __lt__(self, other: Passage) -> bool:
        """Whether this is an earlier occurrence than the other, or the same one of a point that is named first."""
        return (self.occurrence, self.point) < (other.occurrence, other.point)

    def __str__(self) -> str:
        """The text, as `parse` reads it."""
        return f"{self.point}#{self.occurrence}"


def read_passages(record: Path) -> Sequence[Passage]:
    """The passages that a process has recorded, in order; none where it passed no point."""
    counts: Counter[str] = Counter()
    passages: list[Passage] = []
    for point in record.read_text(encoding="utf-8").split() if record.exists() else ():
        counts[point] += 1
        passages.append(Passage(point, counts[point]))
    return passages
