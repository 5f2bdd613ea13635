"""Retry decisions are pure, bounded and by exception type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import DatabaseError, DeclarationError
from freehold.policy import Backoff, GiveUp, Retry, RetryAfter


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.001, 10), st.floats(1, 10))
def test_a_delay_stays_between_half_and_all_of_its_ceiling(
    attempt: int, drawn: float, delay: float, multiplier: float
) -> None:
    retry = Retry(attempts=1000, delay_seconds=delay, multiplier=multiplier, delay_seconds_max=60, draw=lambda: drawn)
    decision = retry.decide(attempt)
    assert isinstance(decision, RetryAfter)
    ceiling = min(delay * multiplier ** min(attempt - 1, 64), 60)
    assert ceiling / 2 - 1e-9 <= decision.delay_seconds <= ceiling + 1e-9


@given(st.integers(1, 2**40), st.floats(0, 1), st.floats(0.001, 10))
def test_a_backoff_has_no_last_attempt_and_the_delays_of_a_retry(failures: int, drawn: float, delay: float) -> None:
    seconds = Backoff(delay, 60.0, draw=lambda: drawn).after(failures)
    ceiling = min(delay * 2.0 ** min(failures - 1, 64), 60)
    assert ceiling / 2 - 1e-9 <= seconds <= ceiling + 1e-9


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


class _Driver(Exception):
    pass


class _Wrapped(Exception):
    def __init__(self, orig: BaseException) -> None:
        super().__init__("wrapped")
        self.orig = orig


def _raised(error: BaseException, cause: BaseException | None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001 - it is what the test needs
        return caught


def _raised_while_handling(error: BaseException, first: BaseException, *, suppressed: bool = False) -> BaseException:
    try:
        try:
            raise first
        except BaseException:  # noqa: BLE001 - it is what the test needs
            if suppressed:
                raise error from None
            raise error  # noqa: B904 - as above
    except BaseException as caught:  # noqa: BLE001 - it is what the test needs
        return caught


@pytest.mark.parametrize(
    "error",
    [
        _Driver(),
        _raised(DatabaseError("refused"), _Driver()),
        _raised(DatabaseError("refused"), _raised(RuntimeError(), _Driver())),
        _raised(DatabaseError("refused"), _Wrapped(_Driver())),
        _raised_while_handling(ValueError(), _Driver()),
        ExceptionGroup("several", [KeyError(), _Driver()]),
        _raised(ValueError(), ExceptionGroup("several", [KeyError(), _Wrapped(_Driver())])),
    ],
)
def test_never_holds_for_what_an_error_was_raised_from(error: BaseException) -> None:
    assert isinstance(Retry(never=_Driver).decide(1, error), GiveUp)
    assert isinstance(Retry(never=(LookupError, _Driver)).decide(1, error), GiveUp)


def test_a_context_that_was_suppressed_says_nothing() -> None:
    error = _raised_while_handling(ValueError(), _Driver(), suppressed=True)
    assert isinstance(Retry(never=_Driver).decide(1, error), RetryAfter)


def test_only_holds_for_what_an_error_was_raised_from() -> None:
    retry = Retry(only=_Driver)
    assert isinstance(retry.decide(1, _raised(DatabaseError("refused"), _Driver())), RetryAfter)
    assert isinstance(retry.decide(1, _raised(DatabaseError("refused"), KeyError())), GiveUp)
    assert isinstance(retry.decide(1, ExceptionGroup("all", [_Driver(), _Wrapped(_Driver())])), RetryAfter)
    assert isinstance(retry.decide(1, ExceptionGroup("one", [_Driver(), KeyError()])), GiveUp)


def test_a_cancellation_is_not_retried_for_what_was_being_handled() -> None:
    assert isinstance(Retry().decide(1, _raised_while_handling(KeyboardInterrupt(), ValueError())), GiveUp)


def test_a_chain_that_is_a_circle_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert isinstance(Retry(never=_Driver).decide(1, first), RetryAfter)
    assert isinstance(Retry(only=_Driver).decide(1, first), GiveUp)


def test_a_fixed_delay_is_the_same_each_time() -> None:
    for retry in (Retry.fixed(5.0), Retry(delay_seconds=5.0, multiplier=1.0, jitter=False)):
        assert [retry.decide(attempt) for attempt in (1, 2, 3, 4)] == [RetryAfter(5.0)] * 4
        assert isinstance(retry.decide(5), GiveUp)
    assert Retry.fixed(120.0, attempts=2, never=_Driver).decide(1) == RetryAfter(120.0)
    assert Retry.fixed(0).decide(1) == RetryAfter(0.0)


def test_a_steep_growth_ends_at_the_longest_delay() -> None:
    assert Retry(attempts=99, multiplier=1e300, jitter=False).decide(90) == RetryAfter(60.0)


@pytest.mark.parametrize(
    "values",
    [
        {"attempts": 1.5},
        {"attempts": True},
        {"attempts": float("nan")},
        {"delay_seconds": float("nan")},
        {"delay_seconds": True},
        {"delay_seconds": "1"},
        {"delay_seconds_max": float("inf")},
        {"delay_seconds_max": 1e12},
        {"multiplier": float("nan")},
        {"multiplier": 0.5},
        {"jitter": 1},
        {"never": "IntegrityError"},
        {"never": (int,)},
        {"only": (Exception, "x")},
    ],
)
def test_values_that_cannot_be_meant_are_declaration_errors(values: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=next(iter(values))):
        Retry(**values)
    with pytest.raises(ValueError, match=next(iter(values))):
        Retry(**values)
