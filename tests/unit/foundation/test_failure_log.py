"""A failure of the user's code in the log: where it came from, once, and never what it says."""

from __future__ import annotations

import pytest

from freehold.errors import ConcurrencyConflict, FreeholdError, Unavailable
from freehold.failures import FailureLog
from freehold.origin import stack

_SECRET = "ada@example.org"


def _fail(depth: int = 0) -> None:
    if depth:
        _fail(depth - 1)
    raise ValueError(_SECRET)


def _caught(depth: int = 0) -> ValueError:
    with pytest.raises(ValueError, match=_SECRET) as raised:
        _fail(depth)
    return raised.value


def test_it_shows_frames_and_source_lines_and_no_text() -> None:
    told = stack(_caught())
    assert 'test_failure_log.py", line ' in told
    assert "in _fail\n    raise ValueError(_SECRET)\nValueError" in told
    assert _SECRET not in told


def test_causes_and_members_of_groups_are_told() -> None:
    members = [_caught(), KeyError(_SECRET), FreeholdError("known", hint="do it")]
    group = ExceptionGroup(_SECRET, members)
    group.__cause__ = _caught()
    told = stack(group)
    assert told.index("ValueError") < told.index("and because of that") < told.index("ExceptionGroup")
    assert "of which 2:\n  KeyError" in told
    assert "FreeholdError: known (do it)" in told
    assert _SECRET not in told


def test_it_is_bounded() -> None:
    told = stack(_caught(depth=500))
    assert len(told) < 9_000
    assert "frames before" in told


def test_the_same_failure_is_told_whole_once_in_a_while() -> None:
    now = [0.0]
    log = FailureLog(monotonic=lambda: now[0])
    assert log.traceback(_caught()).startswith("\n")
    assert log.traceback(_caught()) == ""
    assert log.traceback(KeyError(_SECRET)) != ""
    now[0] = 601.0
    assert log.traceback(_caught()) != ""


def test_an_outage_and_a_conflict_have_none_and_it_can_be_turned_off() -> None:
    assert FailureLog().traceback(Unavailable("away")) == ""
    assert FailureLog().traceback(ConcurrencyConflict("others")) == ""
    assert FailureLog(tracebacks=False).traceback(_caught()) == ""
