"""The hybrid logical clock: always greater than what it has seen, never dragged into the future; and what is said of a
server's clock that is away.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.clock import HybridLogicalClock, stamp_time
from freehold.database import check_clock


class StillClock:
    """A clock whose wall-clock time is set by the test, also backwards."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@given(st.lists(st.one_of(st.integers(-5_000, 5_000), st.just("tick")), max_size=50))
def test_ticks_increase_whatever_the_wall_clock_does(steps: list[int | str]) -> None:
    wall = StillClock()
    clock = HybridLogicalClock(wall)
    given_out = [clock.tick()]
    for step in steps:
        if isinstance(step, int):
            wall.time += timedelta(milliseconds=step)
        given_out.append(clock.tick())
    assert given_out == sorted(set(given_out))


@given(st.integers(-3_000_000, 3_000_000))
def test_a_tick_is_greater_than_every_stamp_observed(ahead_ms: int) -> None:
    wall = StillClock()
    clock = HybridLogicalClock(wall)
    other = (int(wall.time.timestamp() * 1000) + ahead_ms) << 16
    assert clock.observe(other)
    assert clock.tick() > other


def test_a_stamp_from_a_broken_clock_is_ignored() -> None:
    wall = StillClock()
    clock = HybridLogicalClock(wall, drift_seconds_max=60)
    far = (int(wall.time.timestamp() * 1000) + 61_000) << 16
    assert not clock.observe(far)
    assert clock.tick() < far


def test_a_broken_clock_among_several_keeps_none_of_the_others_from_being_observed() -> None:
    wall = StillClock()
    clock = HybridLogicalClock(wall, drift_seconds_max=60)
    now_ms = int(wall.time.timestamp() * 1000)
    stamps = [(now_ms + ahead_ms) << 16 for ahead_ms in (1_000, 61_000, 2_000)]
    assert not clock.observe(*stamps)
    assert stamps[2] < clock.tick() < stamps[1]


def test_a_stamp_tells_its_time_and_fits_a_signed_column() -> None:
    wall = StillClock()
    stamp = HybridLogicalClock(wall).tick()
    assert stamp_time(stamp) == wall.time
    assert stamp < 2**63


@pytest.mark.parametrize(
    ("away_seconds", "ok", "told"),
    [
        (0.0, True, "within 2 s of this machine's"),
        (2.0, True, "within 2 s of this machine's"),
        (3.0, True, "within 2 s of this machine's"),  # the question took a second
        (
            3.1,
            False,
            "the server's clock is 2.1 s ahead of this machine's: due times and retention are wrong by that",
        ),
        (-2.0, True, "within 2 s of this machine's"),
        (
            -2.1,
            False,
            "the server's clock is 2.1 s behind this machine's: due times and retention are wrong by that",
        ),
        (-7200.0, False, "the server's clock is 7200.0 s behind this machine's: due times and retention are wrong"),
    ],
)
def test_a_server_whose_clock_is_away_is_a_finding(away_seconds: float, *, ok: bool, told: str) -> None:
    asked_at = datetime(2026, 1, 1, tzinfo=UTC)
    theirs = asked_at + timedelta(seconds=away_seconds)
    found = check_clock("clock", theirs, asked_at, asked_at + timedelta(seconds=1))
    assert (found.subject, found.ok) == ("clock", ok)
    assert found.detail.startswith(told)
    assert bool(found.fix) is not ok


def test_a_server_that_does_not_tell_its_time_is_no_defect() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = check_clock("broker clock", None, now, now)
    assert (found.ok, found.detail, found.fix) == (True, "the server does not report its time", "")
