"""What was run and found, kept in docs/reference/crash-points.json: a later run continues from it.

Runs append lines to a file of their own, so that one that is interrupted loses nothing; `merge` moves them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["RAW", "SUMMARY", "Line", "PartResults", "Results", "commit"]

_ROOT: Final = Path(__file__).parents[3]
SUMMARY: Final = _ROOT / "docs" / "reference" / "crash-points.json"
RAW: Final = _ROOT / ".freehold" / "faults" / "crash-points.jsonl"


@dataclass(frozen=True, slots=True)
class Line:
    """One run. `kills` as text; `reached`: how many of them were passed."""

    part: str
    kills: str
    reached: int
    violations: Sequence[str]
    commit: str
    later: Sequence[str] = ()
    """Points that only the recovery passed."""

    def write(self) -> None:
        """Append it to the file of raw lines, in one write: several processes do."""
        RAW.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(RAW, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(opened, f"{json.dumps(asdict(self))}\n".encode())
        os.close(opened)


@dataclass(slots=True)
class PartResults:
    """The results of a part.

    recorded    how often a run without kills passed each point.
    done        the occurrences of each point for which a run was made.
    missed      those of them that their run did not come to: what depends on time differs from run to run.
    pairs       the runs with two kills that were made.
    later       points that no run without kills passes, with a kill after which the recovery passed them.
    reached     the points at which a process was killed.
    commits     how many runs were made of each commit.
    """

    recorded: dict[str, int] = field(default_factory=dict)
    done: dict[str, set[int]] = field(default_factory=dict)
    missed: dict[str, set[int]] = field(default_factory=dict)
    pairs: list[str] = field(default_factory=list)
    later: dict[str, str] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    kills: int = 0
    commits: Counter[str] = field(default_factory=Counter)
    violations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """All runs."""
        return sum(self.commits.values())

    def add(self, line: Line) -> None:
        """Add a run."""
        kills = line.kills.split()
        if len(kills) == 1:
            point, _, number = kills[0].partition("#")
            self.done.setdefault(point, set()).add(int(number))
            if not line.reached:
                self.missed.setdefault(point, set()).add(int(number))
        elif line.kills not in self.pairs:
            self.pairs.append(line.kills)
        for point in line.later:
            self.later.setdefault(point, line.kills.split()[0])
        self.reached |= {kill.partition("#")[0] for kill in kills[: line.reached]} - {"*"}
        self.kills += line.reached
        self.commits[line.commit] += 1
        if line.violations:
            self.violations.append({"kills": line.kills, "commit": line.commit, "what": [*line.violations]})

    def document(self) -> dict[str, Any]:
        """As JSON: numbers as ranges."""
        return {
            "recorded": dict(sorted(self.recorded.items())),
            "done": _ranges(self.done),
            "missed": _ranges(self.missed),
            "pairs": sorted(self.pairs),
            "later": dict(sorted(self.later.items())),
            "reached": sorted(self.reached),
            "kills": self.kills,
            "commits": dict(sorted(self.commits.items())),
            "violations": self.violations,
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read it."""
        return cls(
            dict(document["recorded"]),
            _numbers(document["done"]),
            _numbers(document["missed"]),
            list(document["pairs"]),
            dict(document["later"]),
            set(document["reached"]),
            document["kills"],
            Counter(document["commits"]),
            list(document["violations"]),
        )


@dataclass(slots=True)
class Results:
    """The results of all parts, by name."""

    parts: dict[str, PartResults] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Self:
        """Read the summary; nothing where there is none."""
        if not SUMMARY.exists():
            return cls()
        document = json.loads(SUMMARY.read_text(encoding="utf-8"))
        return cls({name: PartResults.read(part) for name, part in document["parts"].items()})

    def of(self, part: str) -> PartResults:
        """The results of a part."""
        return self.parts.setdefault(part, PartResults())

    def merge(self) -> None:
        """Add the raw lines, write the summary, and remove them."""
        for line in _raw_lines():
            self.of(line.part).add(line)
        self.save()
        RAW.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the summary."""
        document = {"parts": {name: part.document() for name, part in sorted(self.parts.items())}}
        SUMMARY.write_text(f"{json.dumps(document, indent=1)}\n", encoding="utf-8")


def commit() -> str:
    """The commit that is run, short; with a `+` where files of it were changed."""
    run = ["git", "-C", str(_ROOT)]
    head = subprocess.run([*run, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*run, "status", "--porcelain", "src", "shop"], capture_output=True, check=False)
    return (head.stdout.strip() or "unknown") + ("+" if changed.stdout.strip() else "")


def _raw_lines() -> Iterable[Line]:
    if RAW.exists():
        for text in RAW.read_text(encoding="utf-8").splitlines():
            yield Line(**json.loads(text))


def _ranges(numbers: Mapping[str, set[int]]) -> dict[str, str]:
    """`1-3 7`: the numbers of each point."""
    return {point: " ".join(_spans(sorted(found))) for point, found in sorted(numbers.items()) if found}


def _spans(ordered: Sequence[int]) -> Iterable[str]:
    begin = 0
    for place, number in enumerate(ordered):
        if place + 1 == len(ordered) or ordered[place + 1] != number + 1:
            yield str(number) if begin == place else f"{ordered[begin]}-{number}"
            begin = place + 1


def _numbers(ranges: Mapping[str, str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for point, text in ranges.items():
        for span in text.split():
            first, _, last = span.partition("-")
            found.setdefault(point, set()).update(range(int(first), int(last or first) + 1))
    return found
