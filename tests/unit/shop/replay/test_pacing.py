"""The rate of a replay, by a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from freehold_shop.replay.rate import BURST_SECONDS, Pace


class _Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.seconds += seconds


async def test_a_rate_spaces_the_turns() -> None:
    clock = _Clock()
    pace = Pace(clock, 4.0)
    times = []
    for _ in range(9):
        await pace.turn()
        times.append(clock.seconds - 100.0)
    assert times == pytest.approx([0.25 * number for number in range(9)])


async def test_max_never_waits() -> None:
    clock = _Clock()
    pace = Pace(clock, None)
    for _ in range(100):
        await pace.turn()
    assert clock.seconds == 100.0


async def test_after_a_pause_only_a_burst_is_caught_up_on() -> None:
    clock = _Clock()
    pace = Pace(clock, 10.0)
    await pace.turn()
    clock.seconds += 60.0
    resumed = clock.seconds
    turns = 0
    while clock.seconds == resumed:
        await pace.turn()
        turns += 1
    assert turns == pytest.approx(10.0 * BURST_SECONDS + 1, abs=2)


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Pace(_Clock(), 0.0)
