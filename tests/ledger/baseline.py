"""What each flow cost when that was last written down: `baseline.toml`, read, compared and written. Imports no flow.

A counter that grew has a line in `[[growth]]`, which names the feature and its cost: the file is refused without it.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["FILE", "Baseline", "Change", "Growth", "changes", "history", "parse", "read", "render", "unexplained"]

FILE: Final = Path(__file__).with_name("baseline.toml")
Costs = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Flow, engine, counter: how much."""
_HEAD: Final = """\
# What each step costs in statements, round trips and commits. Read docs/reference/ledger.md for what is counted.
# Written by `python -m tests.ledger --write`; a counter that grows needs `--why "FEATURE: WHAT IT COSTS AND GIVES"`.

"""


@dataclass(frozen=True, slots=True)
class Change:
    """A counter that is another one by now. `was` or `now` is None where the flow, or the counter, is not there."""

    flow: str
    engine: str
    counter: str
    was: int | None
    now: int | None

    @property
    def grows(self) -> bool:
        """Whether more is paid for what was there before."""
        return self.was is not None and self.now is not None and self.now > self.was

    def __str__(self) -> str:
        was, now = ("none" if each is None else each for each in (self.was, self.now))
        return f"{self.flow}, {self.engine}: {self.counter} {was} -> {now}"


@dataclass(frozen=True, slots=True)
class Growth:
    """A change that grew, and why."""

    change: Change
    why: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """The costs, and every growth since the first."""

    costs: Costs
    growths: Sequence[Growth] = ()


def parse(text: str) -> Baseline:
    """Read a baseline. Raises `ValueError` for a growth that does not say why, or is none."""
    document = tomllib.loads(text)
    growths = []
    for each in document.pop("growth", ()):
        why = str(each.pop("why", "")).strip()
        growth = Growth(Change(**each), why)
        if not why or not growth.change.grows:
            raise ValueError(f"a growth needs `was`, a greater `now`, and `why`: {growth.change}")
        growths.append(growth)
    return Baseline(document, growths)


def read() -> Baseline:
    """The baseline of this checkout."""
    return parse(FILE.read_text(encoding="utf-8"))


def render(baseline: Baseline) -> str:
    """The text of the file."""
    lines = [_HEAD.rstrip("\n")]
    for flow, engines in baseline.costs.items():
        lines += ["", f"[{_quoted(flow)}]"]
        lines += [f"{engine} = {{ {_inline(counters)} }}" for engine, counters in engines.items()]
    for growth in baseline.growths:
        change = growth.change
        lines += ["", "[[growth]]"]
        lines += [f"{name} = {_quoted(getattr(change, name))}" for name in ("flow", "engine", "counter")]
        lines += [f"was = {change.was}", f"now = {change.now}", f"why = {_quoted(growth.why)}"]
    return "\n".join(lines) + "\n"


def changes(before: Costs, after: Costs) -> list[Change]:
    """Every counter that differs."""
    keys = dict.fromkeys([*_keys(before), *_keys(after)])
    found = [Change(*key, _at(before, key), _at(after, key)) for key in keys]
    return [each for each in found if each.was != each.now]


def unexplained(before: Baseline, after: Baseline) -> list[Change]:
    """What grew from one baseline to a later one without a line of its own."""
    told = [each.change for each in after.growths]
    earlier = [each.change for each in before.growths]
    for each in earlier:
        if each in told:
            told.remove(each)
    return [each for each in changes(before.costs, after.costs) if each.grows and not _told(each, told)]


def history(limit: int = 50) -> Iterator[tuple[str, Baseline]]:
    """The baselines of this checkout's past, newest first, by commit; nothing where there is no past to see."""
    path = f"./{FILE.name}"
    log = _git("log", f"--max-count={limit}", "--format=%h", "--", path)
    for commit in log.split():
        text = _git("show", f"{commit}:{path}")
        if text:
            yield commit, parse(text)


def _told(change: Change, told: Sequence[Change]) -> bool:
    """Whether lines lead from what it was to what it is: several commits may have grown it, and been landed as one."""
    steps = [each for each in told if (each.flow, each.engine, each.counter) == _key(change)]
    at, now = change.was or 0, change.now or 0
    for step in sorted(steps, key=lambda each: each.was or 0):
        if (step.was or 0) <= at < (step.now or 0):
            at = step.now or 0
    return at >= now


def _key(change: Change) -> tuple[str, str, str]:
    return change.flow, change.engine, change.counter


def _keys(costs: Costs) -> list[tuple[str, str, str]]:
    return [
        (flow, engine, counter)
        for flow, engines in costs.items()
        for engine, counters in engines.items()
        for counter in counters
    ]


def _at(costs: Costs, key: tuple[str, str, str]) -> int | None:
    flow, engine, counter = key
    return costs.get(flow, {}).get(engine, {}).get(counter)


def _inline(counters: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {number}" for name, number in counters.items())


def _quoted(text: Any) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=FILE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""
