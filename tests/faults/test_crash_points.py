"""A tenth of the crash points, another one each day, on SQLite; and what the full run has shown of all of them.

`FREEHOLD_TEST_TENTH=N` chooses the tenth, to repeat that of another day.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.faults.crashes.page import PAGE, page
from tests.faults.crashes.parts import PARTS
from tests.faults.crashes.results import Results

from freehold.crash_points import CRASH_POINTS
from freehold.testing import crash_once

_RUNS_MAX = 10
_ELSEWHERE = {
    "projection.before-isolation-commit": "tests/integration/projection/test_alone.py",
    "projection.isolated": "tests/integration/projection/test_alone.py",
    "projection.unpark-step-committed": "tests/integration/projection/test_parked_tries.py",
}
"""What only a recovery passes, and no run of `make faults` has come to yet: the test that does."""


def _tenth() -> int:
    return int(os.environ.get("FREEHOLD_TEST_TENTH", datetime.now(UTC).toordinal() % 10))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tenth_of_the_points_on_sqlite(tmp_path: Path) -> None:
    """The first passage of each; the same tenth all day."""
    results, tenth = Results.load(), _tenth()
    recorded = results.of("checkouts-sqlite").recorded
    points = sorted(CRASH_POINTS & recorded.keys())[tenth::10][:_RUNS_MAX]
    scenario = PARTS["checkouts-sqlite"].make(tmp_path / "place")
    try:
        for number, point in enumerate(points):
            run = crash_once(scenario, [point], tmp_path / f"run-{number}")
            assert not run.violations, f"FREEHOLD_TEST_TENTH={tenth}: {run.name}: {run.violations}"
    finally:
        scenario.close()
    assert len(points) > 5


def test_every_point_is_passed_by_a_scenario_or_another_test() -> None:
    """A scenario passes it without kills, or one of its recoveries did."""
    passed = {point for part in Results.load().parts.values() for point in (*part.recorded, *part.later)}
    assert CRASH_POINTS - passed <= _ELSEWHERE.keys()
    root = Path(__file__).parents[2]
    assert [test for test in _ELSEWHERE.values() if not (root / test).exists()] == []


def test_the_full_run_has_found_nothing_that_is_not_mended() -> None:
    assert {name: part.violations for name, part in Results.load().parts.items() if part.violations} == {}


def test_the_page_is_that_of_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(Results.load())
