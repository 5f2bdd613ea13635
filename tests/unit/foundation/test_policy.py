"""Retry decisions are pure, bounded and by exception type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.policy import GiveUp, Retry, RetryAfter


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.001, 10), st.floats(1, 10))
def test_a_delay_stays_between_half_and_all_of_its_ceiling(
    attempt: int, drawn: float, delay: float, multiplier: float
) -> None:
    retry = Retry(attempts=1000, delay_seconds=delay, multiplier=multiplier, delay_seconds_max=60, draw=lambda: drawn)
    decision = retry.decide(attempt)
    assert isinstance(decision, RetryAfter)
    ceiling = min(delay * multiplier ** min(attempt - 1, 64), 60)
    assert ceiling / 2 - 1e-9 <= decision.delay_seconds <= ceiling + 1e-9


def test_attempts_count_the_first_one() -> None:
    assert isinstance(Retry(attempts=1).decide(1), GiveUp)
    assert isinstance(Retry(attempts=2).decide(1), RetryAfter)


def test_never_wins_over_only_and_both_match_subclasses() -> None:
    retry = Retry(only=(LookupError,), never=(KeyError,))
    assert isinstance(retry.decide(1, IndexError()), RetryAfter)
    assert isinstance(retry.decide(1, KeyError()), GiveUp)
    assert isinstance(retry.decide(1, ValueError()), GiveUp)


def test_numbers_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match="attempts"):
        Retry(attempts=0)
    with pytest.raises(ValueError, match="delay_seconds"):
        Retry(delay_seconds=2, delay_seconds_max=1)
