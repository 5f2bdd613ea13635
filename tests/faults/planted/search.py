"""Looks for the seed that finds a planted bug, or runs the test that does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from tests.faults.planted.bug import Bug, planted

from freehold.testing import simulate_once

__all__ = ["ENVIRONMENT", "Found", "seed_that_finds", "test_that_finds"]

ENVIRONMENT: Final = "PLANTED_BUG"
_SECONDS_MAX: Final = 600
_FAILED: Final = 1
_TEXT_MAX: Final = 160


@dataclass(frozen=True, slots=True)
class Found:
    """How a bug was found.

    seed             the seed of the run that found it; None where a test did.
    runs             how many seeds were tried, with that one.
    virtual_seconds  the virtual time of these runs.
    seconds          the time of a processor.
    violation        what did not hold.
    """

    seed: int | None
    runs: int
    virtual_seconds: float
    seconds: float
    violation: str

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def seed_that_finds(bug: Bug, seeds: Iterable[int]) -> Found | None:
    """Try seeds until one finds the bug; None where none does. The functions that are patched must have been called."""
    assert bug.scenario is not None
    begun, virtual_seconds = time.process_time(), 0.0
    with planted(bug) as patch:
        for runs, seed in enumerate(seeds, 1):
            run = simulate_once(bug.scenario, seed)
            virtual_seconds += run.seconds
            if run.violation:
                assert not patch.uncalled, f"{bug.name} was found, and {sorted(patch.uncalled)} was never called"
                seconds = time.process_time() - begun
                text = run.violation.splitlines()[0]
                text = text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"
                return Found(seed, runs, round(virtual_seconds, 1), round(seconds, 2), text)
        assert not patch.uncalled, f"{bug.name}: {sorted(patch.uncalled)} was never called"
    return None


def test_that_finds(bug: Bug) -> Found | None:
    """Run the bug's test with the bug planted, in a process of its own; None where it does not fail."""
    begun = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.faults.planted.plugin",
            *bug.test.split(),
        ],
        env={**os.environ, ENVIRONMENT: bug.name},
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS_MAX,
    )
    assert "planted and called" in done.stdout, (
        f"{bug.name} was not planted:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
    )
    if done.returncode != _FAILED:
        return None
    failures = [line for line in done.stdout.splitlines() if line.startswith("E  ")] or [""]
    return Found(None, 1, 0.0, round(time.monotonic() - begun, 1), failures[0][1:].strip()[:_TEXT_MAX])


test_that_finds.__test__ = False  # type: ignore[attr-defined] # no test of pytest, whatever its name
