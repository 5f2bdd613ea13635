"""Runs of a part, one for each passage that was not killed at yet, in several processes until a time limit.

Imports the library's runner and the results.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.crashes.results import RAW, Line, PartResults, Results, commit

from freehold.testing.crashes.exploration import CrashRun, crash_once, sampled_pairs
from freehold.testing.crashes.passage import Passage
from freehold.testing.crashes.scenario import CrashScenario

__all__ = ["KeptScenario", "Part", "run_one", "run_part"]

_PLACE_RUNS_MAX: Final = 40
"""After so many runs a scenario has a new place: what a run reads grows with those before."""
_MEMORY: Final = Path("/dev/shm")


class KeptScenario(CrashScenario):
    """A scenario that may keep something from run to run."""

    def close(self) -> None:
        """Give up what is kept."""


@dataclass(frozen=True, slots=True)
class Part:
    """A scenario on one set of engines.

    checks  the invariants, in a few words.
    once    each point is killed at its first occurrence only.
    pairs   how many runs with two kills follow.
    """

    name: str
    make: Callable[[Path], KeptScenario]
    checks: str
    once: bool = False
    pairs: int = 0


def run_part(part: Part, until: float, workers: int) -> Sequence[str]:
    """Run what is left of a part until a time of the monotonic clock; return the violations that were found."""
    results = Results.load()
    results.merge()
    found = results.of(part.name)
    if not found.recorded:
        run = _in_place(part, ())
        if run.violations:
            return [f"{part.name}: without a kill: {'; '.join(run.violations)}"]
        found.recorded = dict(run.passages)
        results.save()
    left = _left(part, found)
    _say(f"{part.name}: {sum(found.recorded.values())} passages of {len(found.recorded)} points; {len(left)} runs left")
    before = len(found.violations)
    failed: list[int] = []
    while left and time.monotonic() < until:
        processes = [
            _forked(part, found.recorded, left[number::workers], until) for number in range(min(workers, len(left)))
        ]
        failed += [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        results.merge()
        # What only a recovery passes is killed at in a recovery, once that is known.
        left = [] if any(failed) else [pair for pair in _left(part, found) if pair not in left]
    _say(f"{part.name}: {found.runs} runs, {found.kills} kills, {len(found.violations)} violations")
    new = [f"{part.name}: {each['kills']}: {'; '.join(each['what'])}" for each in found.violations[before:]]
    return [*new, *(f"{part.name}: a worker ended with {code}" for code in failed if code)]


def run_one(part: Part, kills: Sequence[str]) -> CrashRun:
    """One run, in a new place."""
    return _in_place(part, [Passage.parse(kill) for kill in kills])


def _left(part: Part, found: PartResults) -> Sequence[tuple[Passage, ...]]:
    passages = [
        Passage(point, number)
        for point, count in found.recorded.items()
        for number in range(1, 2 if part.once else count + 1)
    ]
    left: list[tuple[Passage, ...]] = [
        (passage,) for passage in sorted(passages) if passage.occurrence not in found.done.get(passage.point, ())
    ]
    drawn = sampled_pairs(passages, sum(found.recorded.values()), part.pairs, seed=0)
    pairs = [pair for pair in drawn if " ".join(map(str, pair)) not in found.pairs]
    # Some pairs early: a run that is cut short has some of all.
    points, some = len(found.recorded), part.pairs // 4
    return [*left[:points], *_in_recovery(found), *pairs[:some], *left[points:], *pairs[some:]]


def _in_recovery(found: PartResults) -> Sequence[tuple[Passage, ...]]:
    """Two kills for each point that only recoveries pass: the one that leads to it, and the one there."""
    pairs = [(Passage.parse(kill), Passage(point)) for point, kill in sorted(found.later.items())]
    return [pair for pair in pairs if " ".join(map(str, pair)) not in found.pairs]


def _forked(part: Part, recorded: Collection[str], passages: Sequence[tuple[Passage, ...]], until: float) -> int:
    process = os.fork()
    if process == 0:
        code = 1
        try:
            _work(part, frozenset(recorded), passages, until)
            code = 0
        except BaseException:  # noqa: BLE001 - the parent only sees the code
            traceback.print_exc()
        finally:
            os._exit(code)
    return process


def _work(part: Part, recorded: frozenset[str], passages: Sequence[tuple[Passage, ...]], until: float) -> None:
    directory, scenario, present = _new(part), None, commit()
    for runs, kills in enumerate(passages, 1):
        if time.monotonic() >= until:
            break
        if scenario is None:
            scenario = part.make(directory / f"place-{runs}")
        place = directory / f"run-{runs}"
        run = crash_once(scenario, kills, place)
        later = sorted(run.passages.keys() - recorded)
        Line(part.name, run.name, run.reached, run.violations, present, later).write()
        if run.violations:
            _say(f"{part.name}: {run.name}: {'; '.join(run.violations)}")
            shutil.copytree(place, RAW.parent / run.name.replace(" ", "_"), dirs_exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        if run.violations or runs % _PLACE_RUNS_MAX == 0:
            scenario.close()
            scenario = None
    if scenario is not None:
        scenario.close()
    shutil.rmtree(directory, ignore_errors=True)


def _in_place(part: Part, kills: Sequence[Passage]) -> CrashRun:
    directory = _new(part)
    scenario = part.make(directory / "place")
    try:
        return crash_once(scenario, kills, directory / "run")
    finally:
        scenario.close()
        shutil.rmtree(directory, ignore_errors=True)


def _new(part: Part) -> Path:
    """A directory in memory where that is possible: no process loses power here."""
    where = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    made = Path(tempfile.mkdtemp(prefix="freehold-crash-", dir=where))
    made.chmod(0o755)
    return made


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
