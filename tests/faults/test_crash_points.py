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


def test_the_full_run_has_found_nothing_that_is_not_mended() -> None:
    assert {name: part.violations for name, part in Results.load().parts.items() if part.violations} == {}


def test_the_page_is_that_of_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(Results.load())
