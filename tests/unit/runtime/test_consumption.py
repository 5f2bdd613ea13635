"""What is said of a group that was watched from outside."""

from __future__ import annotations

import pytest

from freehold.broker import GroupPlace, GroupState, TopicLag
from freehold.inbox.group_state import Watched, judge


def _places(holder: str, position: int = 5, number: int = 2) -> list[GroupPlace]:
    return [GroupPlace("a.events", partition, holder, position) for partition in range(number)]


def _lag(pending: int, oldest: float | None = 90.0) -> list[TopicLag]:
    return [TopicLag("orders", "a.events", pending, oldest)]


NOBODY = GroupState([], {})


@pytest.mark.parametrize(
    ("lag", "first", "last", "at_work", "ok", "told"),
    [
        (_lag(0), (_places("m"), {"m": 1}), (_places("m"), {"m": 2}), False, True, "one member reads; nothing waits"),
        (_lag(1), (_places("m"), {"m": 1}), (_places("m", 6), {"m": 2}), False, True, "the oldest for 90 s"),
        (
            _lag(0),
            (_places("m"), {"m": 1}),
            (_places("m"), {"m": 1}),
            False,
            False,
            "2 partitions are held",
        ),
        (
            _lag(3),
            (_places("m"), {"m": 1}),
            (_places("m"), {"m": 2}),
            False,
            False,
            "nothing of a.events",
        ),
        (_lag(3, 5.0), (_places("m"), {"m": 1}), (_places("m"), {"m": 2}), False, True, "3 messages wait"),
        (_lag(3), (_places("x"), {"m": 1}), (_places("", 6), {"m": 2}), False, False, "held by no member"),
        (_lag(0), (_places(""), {}), (_places(""), {}), False, True, "the group has no member; nothing waits"),
        (
            _lag(3),
            (_places(""), {}),
            (_places(""), {}),
            False,
            False,
            "no member; 3 messages wait",
        ),
        (_lag(3, None), (_places(""), {}), (_places(""), {}), False, False, "3 messages wait"),
        (_lag(0), (_places(""), {}), (_places(""), {}), True, False, "although the service's relay runs"),
        (_lag(0), (_places("m"), {"m": 1}), (_places("n"), {"m": 1, "n": 7}), False, True, "one member reads"),
    ],
)
def test_a_group_is_judged_by_signs_of_life_and_what_moves(
    lag: list[TopicLag],
    first: tuple[list[GroupPlace], dict[str, int]],
    last: tuple[list[GroupPlace], dict[str, int]],
    at_work: bool,
    ok: bool,
    told: str,
) -> None:
    finding = judge("orders", Watched(lag, GroupState(*first), GroupState(*last), 7.0), at_work=at_work)
    assert (finding.ok, told in finding.detail) == (ok, True), finding
    assert finding.ok or finding.fix


def test_a_holder_whose_process_has_died_is_nobody() -> None:
    state = GroupState(_places("m"), {"m": 1}, frozenset({"m"}))
    finding = judge("orders", Watched(_lag(0), state, state, 7.0), at_work=False)
    assert finding.ok
    assert "the group has no member" in finding.detail
