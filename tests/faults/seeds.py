"""`python -m tests.faults simulate`: all scenarios with many seeds, in several processes, resumed where it stopped.

The runs are numbered from 0: the scenario of a run is its number's turn in the list of scenarios, and its seed is the
number. What was done is kept in a file after each chunk of runs, with the time of the code that was run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.simulated.scenarios import SCENARIOS

from freehold.testing import SimulationFailure, simulate, simulate_once

__all__ = ["PAGE", "SUMMARY", "Progress", "main", "page", "summary"]

_ROOT: Final = Path(__file__).parent.parent.parent
SUMMARY: Final = Path(__file__).parent / "results" / "simulation.json"
PAGE: Final = _ROOT / "docs" / "reference" / "simulation.md"
_STATE: Final = _ROOT / "build" / "simulation.json"
_CHUNK: Final = 56
_STORY_CHARACTERS: Final = 2000


@dataclass(slots=True)
class Progress:
    """What all runs so far have done. `chunks` are the numbers of those that are done."""

    chunks: set[int] = field(default_factory=set)
    runs: Counter[str] = field(default_factory=Counter)
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    restarts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seen: dict[str, Counter[str]] = field(default_factory=dict)
    violations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Progress) -> None:
        """Add what other runs have done."""
        self.chunks |= other.chunks
        self.runs += other.runs
        self.virtual_seconds += other.virtual_seconds
        self.cpu_seconds += other.cpu_seconds
        self.restarts += other.restarts
        self.faults += other.faults
        self.violations += other.violations
        for scenario, seen in other.seen.items():
            self.seen.setdefault(scenario, Counter()).update(seen)

    @property
    def unseen(self) -> Sequence[str]:
        """The states that no run has seen, after their scenario."""
        return [
            f"{scenario}: {name}" for scenario, seen in self.seen.items() for name in sorted(seen) if not seen[name]
        ]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "runs": dict(sorted(self.runs.items())),
            "virtual_seconds": round(self.virtual_seconds),
            "cpu_seconds": round(self.cpu_seconds),
            "restarts": self.restarts,
            "faults": dict(sorted(self.faults.items())),
            "seen": {scenario: dict(sorted(seen.items())) for scenario, seen in sorted(self.seen.items())},
            "violations": self.violations,
            "chunks": sorted(self.chunks),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Progress:
        """From JSON."""
        return cls(
            set(document["chunks"]),
            Counter(document["runs"]),
            document["virtual_seconds"],
            document["cpu_seconds"],
            document["restarts"],
            Counter(document["faults"]),
            {scenario: Counter(seen) for scenario, seen in document["seen"].items()},
            list(document["violations"]),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and say what was found; 1 where something was violated, or a state was never seen."""
    asked = _asked(arguments)
    if asked.scenario:
        return _again(asked.scenario, asked.seed)
    state = Path(asked.state)
    progress = Progress.of(json.loads(state.read_text())) if state.exists() and not asked.fresh else Progress()
    wanted = [number for number in range(-(-asked.seeds // _CHUNK)) if number not in progress.chunks]
    for done in _done(wanted, asked.seeds, asked.workers, asked.seconds):
        progress.add(done)
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(json.dumps(progress.document()))
        _say(f"{sum(progress.runs.values())} of {asked.seeds} runs, {len(progress.violations)} violations")
    for each in progress.violations:
        _say(f"{each['scenario']} {each['seed']}: {each['violation']}\n  again: {_command(each)}")
    for name in progress.unseen:
        _say(f"never seen: {name}")
    _say(json.dumps({**progress.document(), "chunks": len(progress.chunks)}))
    if asked.write:
        SUMMARY.parent.mkdir(exist_ok=True)
        SUMMARY.write_text(json.dumps({**progress.document(), "chunks": []}, indent=1) + "\n")
        PAGE.write_text(page(progress))
    return 1 if progress.violations or progress.unseen else 0


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many runs, over all scenarios")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=7200.0, help="begin no chunk after this time")
    parser.add_argument("--state", default=str(_STATE), help="the file with what was done")
    parser.add_argument("--fresh", action="store_true", help="begin again")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(_ROOT)}")
    parser.add_argument(
        "--scenario", choices=sorted(SCENARIOS), help="run one seed of this scenario, and tell its story"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def _done(wanted: Sequence[int], seeds: int, workers: int, limit_seconds: float) -> Iterator[Progress]:
    """Run chunks until all are done, or the time is up."""
    end = time.monotonic() + limit_seconds
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, maxtasksperchild=20) as pool:
        for start in range(0, len(wanted), workers * 2):
            if time.monotonic() >= end:
                return
            yield from pool.imap_unordered(_chunk, [(number, seeds) for number in wanted[start : start + workers * 2]])


def _chunk(task: tuple[int, int]) -> Progress:
    number, seeds = task
    done, names = Progress(chunks={number}), list(SCENARIOS)
    begun = time.process_time()
    for seed in range(number * _CHUNK, min(seeds, (number + 1) * _CHUNK)):
        name = names[seed % len(names)]
        run = simulate_once(SCENARIOS[name], seed)
        done.runs[name] += 1
        done.virtual_seconds += run.seconds
        done.restarts += run.restarts
        done.faults.update(each.kind.value for each in run.faults)
        # `Counter.update` keeps the states that were not seen.
        done.seen.setdefault(name, Counter()).update(run.seen)
        if run.violation:
            done.violations.append({"scenario": name, "seed": seed, "violation": run.violation[:_STORY_CHARACTERS]})
    done.cpu_seconds = time.process_time() - begun
    return done


def _again(scenario: str, seed: int) -> int:
    try:
        simulate(SCENARIOS[scenario], [seed])
    except SimulationFailure as failure:
        _say(failure)
        return 1
    _say(f"seed {seed} of {scenario} finds nothing")
    return 0


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _command(violation: Mapping[str, Any]) -> str:
    return f"python -m tests.faults simulate --scenario {violation['scenario']} --seed {violation['seed']}"


def summary() -> Progress:
    """What the last run that was written has done."""
    return Progress.of(json.loads(SUMMARY.read_text()))


def page(progress: Progress) -> str:
    """The page of the documentation."""
    hours = progress.virtual_seconds / 3600
    lines = [
        "# Simulated seeds",
        "",
        "What `python -m tests.faults simulate --write` found, which writes this page. Each run is a scenario of",
        "`tests/faults/simulated` with a seed, [in virtual time](../testing.md).",
        "",
        f"{sum(progress.runs.values())} seeds, {hours:.0f} hours of virtual time, {progress.restarts} restarts,",
        f"{len(progress.violations)} violations. It took {progress.cpu_seconds / 60:.0f} minutes of a processor.",
        "",
        "| scenario | seeds | what it shows |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {runs} | {_shows(name)} |" for name, runs in sorted(progress.runs.items())),
        "",
        "| fault | drawn |",
        "| --- | --- |",
        *(f"| `{kind}` | {number} |" for kind, number in sorted(progress.faults.items())),
        "",
        "A rare state that no run reaches is a failure of the command: nothing would be proved about it.",
        "",
        "| scenario | state | seen |",
        "| --- | --- | --- |",
        *(
            f"| `{scenario}` | {name} | {number} |"
            for scenario, seen in sorted(progress.seen.items())
            for name, number in sorted(seen.items())
        ),
        "",
    ]
    if progress.violations:
        lines += ["| violation | again |", "| --- | --- |"]
        lines += [f"| {each['violation'].splitlines()[0]} | `{_command(each)}` |" for each in progress.violations]
        lines += [""]
    return "\n".join(lines)


def _shows(scenario: str) -> str:
    return " ".join((SCENARIOS[scenario].__doc__ or "").split())


if __name__ == "__main__":
    sys.exit(main())
