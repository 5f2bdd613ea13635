"""Kills a scenario's process at every passage of every crash point, and then twice in a row. Testing: imports its
package.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from freehold.crash_points import ANY
from freehold.testing.crashes.life import Ending, live
from freehold.testing.crashes.passage import Passage, read_passages
from freehold.testing.crashes.scenario import CrashScenario

__all__ = ["CrashReport", "CrashRun", "CrashViolation", "crash_once", "explore_crashes", "sampled_pairs"]

_CHECK_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class CrashRun:
    """One run: a scenario whose process was killed at `kills`, one after the other, and restarted after each.

    reached     how many of them were passed. What depends on time may not be passed in every run.
    violations  what did not hold in the end; empty where all did.
    passages    how often each point was passed, in all lives.
    """

    kills: Sequence[Passage]
    reached: int
    violations: Sequence[str]
    passages: Mapping[str, int]
    seconds: float

    @property
    def name(self) -> str:
        """The passages, as text: `outbox.published#3 inbox.received#1`."""
        return " ".join(map(str, self.kills))


class CrashViolation(AssertionError):
    """Something did not hold after a process was killed. The text has the call that repeats it."""


@dataclass(slots=True)
class CrashReport:
    """The runs of an exploration."""

    runs: list[CrashRun] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How many processes were killed; as many were restarted."""
        return sum(run.reached for run in self.runs)

    @property
    def points(self) -> frozenset[str]:
        """The points at which a process was killed."""
        return frozenset(kill.point for run in self.runs for kill in run.kills[: run.reached])


def crash_once(scenario: CrashScenario, kills: Sequence[str | Passage], place: Path) -> CrashRun:
    """Run a scenario in a directory that is empty or does not exist, killing its process at these passages.

    The first process is killed at the first passage, the one that is started after it at the second, and so on; the one
    after the last must come to its end. Without `kills` the scenario is only run and checked.
    """
    wanted = [Passage.parse(kill) if isinstance(kill, str) else kill for kill in kills]
    place.mkdir(parents=True, exist_ok=True)
    endings: list[Ending] = []
    with scenario.surroundings(place):
        while not endings or endings[-1].killed:
            at = wanted[len(endings)] if len(endings) < len(wanted) else None
            number = len(endings)
            endings.append(_life(scenario, place, at, number))
            if endings[-1].killed and at is None:
                break
        last, killed = endings[-1], sum(each.killed for each in endings)
        violations = asyncio.run(_checked(scenario, place)) if last.code == 0 else [_unfinished(scenario, last)]
    passages: Counter[str] = Counter()
    for number in range(len(endings)):
        passages.update(each.point for each in read_passages(_file(place, "passed", number)))
    return CrashRun(wanted, min(killed, len(wanted)), violations, passages, sum(each.seconds for each in endings))


def explore_crashes(
    scenario: CrashScenario,
    *,
    points: Collection[str] | None = None,
    occurrences_max: int | None = None,
    pairs: int = 0,
    seed: int = 0,
    chosen: Callable[[Sequence[Passage]], Sequence[Passage]] = lambda passages: passages,
) -> CrashReport:
    """Record the passages of a scenario, then run it once for each of them, and kill its process there.

    points           only these; by default all that the scenario passes.
    occurrences_max  of each point only the first so many; by default all.
    pairs            afterwards so many runs with two kills, the second one during the recovery from the first, drawn by
                     `seed`.
    chosen           what is run of the recorded passages.

    Must be called from a thread that no event loop runs in: the processes are forked from this one. Raises
    `CrashViolation` at the first run after which something does not hold; its directory is kept.
    """
    report = CrashReport()
    recorded = _run(scenario, (), report)
    passages = [
        Passage(point, number)
        for point, count in recorded.passages.items()
        if points is None or point in points
        for number in range(1, min(count, occurrences_max or count) + 1)
    ]
    for passage in chosen(sorted(passages)):
        _run(scenario, (passage,), report)
    for pair in sampled_pairs(passages, sum(recorded.passages.values()), pairs, seed):
        _run(scenario, pair, report)
    return report


def sampled_pairs(passages: Sequence[Passage], total: int, number: int, seed: int) -> Sequence[tuple[Passage, Passage]]:
    """Pairs of kills: the first at one of the passages, the second at any passage of the recovery. `total` is how many
    passages a run without kills has; a recovery has fewer.
    """
    drawn = random.Random(seed)
    later = max(1, total // 2)
    ordered = sorted(passages)
    return [(drawn.choice(ordered), Passage(ANY, drawn.randint(1, later))) for _ in range(number if ordered else 0)]


def _run(scenario: CrashScenario, kills: Sequence[Passage], report: CrashReport) -> CrashRun:
    place = Path(tempfile.mkdtemp(prefix="freehold-crash-"))
    run = crash_once(scenario, kills, place)
    if run.violations:
        name = type(scenario).__qualname__
        raise CrashViolation(
            f"after a kill at {run.name or 'no point'}: {'; '.join(run.violations)}\n"
            f"repeat it: crash_once({name}(), {[str(each) for each in kills]}, place)\n"
            f"its directory is {place}"
        )
    shutil.rmtree(place, ignore_errors=True)
    report.runs.append(run)
    return run


def _life(scenario: CrashScenario, place: Path, at: Passage | None, number: int) -> Ending:
    record, log = _file(place, "passed", number), _file(place, "log", number)
    return live(partial(scenario.life, place), at=at, record=record, log=log, limit_seconds=scenario.life_seconds)


def _file(place: Path, what: str, number: int) -> Path:
    return place / f"life-{number}.{what}"


def _unfinished(scenario: CrashScenario, ending: Ending) -> str:
    if ending.code is None:
        return f"the last life did not end within {scenario.life_seconds:g} s: {ending.said}"
    return f"the last life ended with {ending.code}: {ending.said}"


async def _checked(scenario: CrashScenario, place: Path) -> Sequence[str]:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return [*await scenario.check(place)]
    except Exception as error:  # noqa: BLE001 - a check that cannot be made is a violation, and other runs go on
        return [f"the check failed: {type(error).__name__}: {error}"]
