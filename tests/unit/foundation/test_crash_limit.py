"""What was begun too often and never ended is given up: by one rule for messages, events and hooks."""

from __future__ import annotations

import pytest

from freehold.failures import CrashLimit, ProcessCrashed
from freehold.policy import Retry


@pytest.mark.parametrize(("attempts", "crashes_max"), [(1, 3), (3, 3), (5, 5), (50, 10)])
def test_a_policys_attempts_count_between_three_and_ten(attempts: int, crashes_max: int) -> None:
    crashes = CrashLimit.of(Retry(attempts=attempts))
    assert not crashes.reached(crashes_max - 1)
    assert crashes.reached(crashes_max)


def test_the_error_says_how_often_and_what_was_begun() -> None:
    error = CrashLimit().error(3, "this event was replayed by itself", hint="look at it")
    assert isinstance(error, ProcessCrashed)
    assert "this event was replayed by itself 3 times and never finished" in str(error)
    assert error.hint == "look at it"
