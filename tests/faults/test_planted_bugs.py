"""Each planted bug is caught, and the pages say so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.faults import seeds
from tests.faults.planted import table
from tests.faults.planted.registry import BUGS
from tests.faults.planted.search import seed_that_finds, test_that_finds

from freehold.testing import simulate_once

_SEEDS_MAX = 60
"""A seed's run changes with each new await in the library: where the recorded seed finds nothing, the next ones do."""
_SEEDS_WANTED = 20_000
_SIMULATED = [name for name, bug in BUGS.items() if bug.scenario is not None]
_TESTED = [name for name, bug in BUGS.items() if bug.test]


@pytest.mark.parametrize("name", _SIMULATED)
def test_the_simulation_finds_a_planted_bug(name: str) -> None:
    seed = table.results()[name]["seed"]
    found = seed_that_finds(BUGS[name], range(seed, seed + _SEEDS_MAX))
    assert found is not None, f"no seed of {seed} to {seed + _SEEDS_MAX - 1} finds '{name}': {BUGS[name].what}"


@pytest.mark.parametrize("name", _TESTED)
def test_a_test_finds_a_planted_bug(name: str) -> None:
    assert test_that_finds(BUGS[name]) is not None, f"'{name}' ({BUGS[name].what}) is not found by {BUGS[name].test}"


def test_without_a_bug_the_same_scenarios_find_nothing() -> None:
    for scenario in dict.fromkeys(bug.scenario for bug in BUGS.values() if bug.scenario is not None):
        assert simulate_once(scenario, 0).violation == "", scenario.__name__


def test_a_bug_whose_function_has_gone_cannot_be_planted() -> None:
    bug = next(iter(BUGS.values()))
    gone = replace(bug, plant=lambda patch: patch.replace(object, "gone", lambda before: before))
    with pytest.raises(AssertionError, match="does not exist"):
        seed_that_finds(gone, [0])


def test_the_page_has_every_bug_as_it_was_found() -> None:
    """`python -m tests.faults planted --write` writes it."""
    known = table.results()
    assert list(known) == list(BUGS)
    assert len(BUGS) >= 30
    assert all(each["seed"] < table.SEEDS_MAX for each in known.values() if each["seed"] is not None)
    assert table.PAGE.read_text() == table.page(known)


def test_the_page_of_the_seeds_is_as_the_summary_says() -> None:
    """`python -m tests.faults simulate --write` writes it."""
    progress = seeds.summary()
    assert seeds.PAGE.read_text() == seeds.page(progress)
    assert not progress.violations
    assert not progress.unseen or sum(progress.runs.values()) < _SEEDS_WANTED
