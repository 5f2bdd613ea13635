"""The watch: one look for all who wait, by an injected clock, bounded, cancellable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import pytest

from freehold.consistency.watcher import CurrentPosition, PositionWatcher
from freehold.errors import Unavailable
from freehold.testing import ManualClock


class Known:
    """A source of positions that the test moves."""

    def __init__(self) -> None:
        self.positions: dict[str, int] = {}
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.looks = 0

    async def reached(self, names: Collection[str]) -> Mapping[str, CurrentPosition]:
        self.looks += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {name: CurrentPosition(self.positions[name]) for name in names if name in self.positions}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0)


async def _turns() -> None:
    """Let everything that can go on do so; the clock is held, so it comes to rest."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_what_is_there_is_answered_at_the_first_look(clock: ManualClock) -> None:
    known = Known()
    known.positions = {"a": 5, "b": 9}
    watch = PositionWatcher(known, clock)
    assert await watch.until({"a": 5, "b": 3}, 1.0) == {}
    assert await watch.until({}, 1.0) == {}
    assert known.looks == 1


async def test_the_limit_ends_the_wait_and_says_what_is_missing(clock: ManualClock) -> None:
    known = Known()
    known.positions = {"a": 4}
    waiting = asyncio.create_task(PositionWatcher(known, clock).until({"a": 5, "b": 1}, 2.0))
    await _until(lambda: known.looks >= 1)
    clock.advance(1.9)
    await _turns()
    assert not waiting.done()
    clock.advance(0.2)
    assert await waiting == {"a": CurrentPosition(4), "b": CurrentPosition()}


async def test_moving_on_is_seen_at_once_when_it_is_told(clock: ManualClock) -> None:
    known = Known()
    watch = PositionWatcher(known, clock)
    waiting = asyncio.create_task(watch.until({"a": 5}, 60.0))
    await _until(lambda: known.looks == 1)
    await _turns()
    known.positions = {"a": 5}
    assert not waiting.done()
    watch.wake()
    assert await asyncio.wait_for(waiting, 60) == {}


async def test_what_moves_elsewhere_is_seen_by_looking_again(clock: ManualClock) -> None:
    known = Known()
    waiting = asyncio.create_task(PositionWatcher(known, clock).until({"a": 5}, 60.0))
    await _until(lambda: known.looks == 1)
    known.positions = {"a": 5}
    async with asyncio.timeout(60):
        while not waiting.done():
            clock.advance(0.05)
            await asyncio.sleep(0)
    assert await waiting == {}


async def test_a_thousand_who_wait_are_few_looks(clock: ManualClock) -> None:
    known = Known()
    watch = PositionWatcher(known, clock)
    waiting = [asyncio.create_task(watch.until({"a": number % 7 + 1}, 60.0)) for number in range(1000)]
    await _until(lambda: known.looks >= 1)
    await _turns()
    known.positions = {"a": 7}
    watch.wake()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 60) == [{}] * 1000
    assert known.looks <= 4


async def test_it_looks_ever_more_seldom_and_not_at_all_when_nobody_waits(clock: ManualClock) -> None:
    known = Known()
    waiting = asyncio.create_task(PositionWatcher(known, clock).until({"a": 5}, 10.0))
    await _until(lambda: known.looks == 1)
    async with asyncio.timeout(60):
        while not waiting.done():
            clock.advance(0.01)
            for _ in range(8):
                await asyncio.sleep(0)
    assert 50 < known.looks < 130
    looks = known.looks
    clock.advance(100)
    await _turns()
    assert known.looks == looks


async def test_cancelling_one_wait_leaves_the_others(clock: ManualClock) -> None:
    known = Known()
    watch = PositionWatcher(known, clock)
    first, second = (asyncio.create_task(watch.until({"a": 5}, 60.0)) for _ in range(2))
    await _until(lambda: known.looks >= 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    known.positions = {"a": 5}
    watch.wake()
    assert await asyncio.wait_for(second, 60) == {}


async def test_where_nothing_can_be_found_out_no_answer_is_given(clock: ManualClock) -> None:
    known = Known()
    known.error = Unavailable("away")
    waiting = asyncio.create_task(PositionWatcher(known, clock).until({"a": 5}, 1.0))
    async with asyncio.timeout(60):
        while not waiting.done():
            clock.advance(0.1)
            await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await waiting


async def test_an_outage_passes(clock: ManualClock) -> None:
    known = Known()
    known.error = Unavailable("away")
    watch = PositionWatcher(known, clock)
    waiting = asyncio.create_task(watch.until({"a": 5}, 60.0))
    await _until(lambda: known.looks == 1)
    known.error, known.positions = None, {"a": 5}
    watch.wake()
    assert await asyncio.wait_for(waiting, 60) == {}


async def test_a_bug_in_looking_is_raised_to_all(clock: ManualClock) -> None:
    known = Known()
    known.error = ZeroDivisionError()
    watch = PositionWatcher(known, clock)
    results = await asyncio.gather(*(watch.until({"a": 5}, 60.0) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in results] == [ZeroDivisionError] * 3


async def test_who_comes_while_a_look_fails_for_a_bug_gets_a_look_too(clock: ManualClock) -> None:
    known = Known()
    known.error = ZeroDivisionError()
    known.gate.clear()
    watch = PositionWatcher(known, clock)
    first = asyncio.create_task(watch.until({"a": 5}, 60.0))
    await _until(lambda: known.looks == 1)
    second = asyncio.create_task(watch.until({"a": 5}, 60.0))
    await asyncio.sleep(0)
    known.gate.set()
    with pytest.raises(ZeroDivisionError):
        await first
    known.error, known.positions = None, {"a": 5}
    assert await asyncio.wait_for(second, 60) == {}


async def test_no_time_at_all_is_time_for_one_look(clock: ManualClock) -> None:
    known = Known()
    known.positions = {"a": 5}
    assert await PositionWatcher(known, clock).until({"a": 5}, 0.0) == {}
    assert await PositionWatcher(known, clock).until({"a": 6}, 0.0) == {"a": CurrentPosition(5)}


async def test_a_look_that_hangs_holds_nobody_longer_than_the_limit(clock: ManualClock) -> None:
    """What is told then is what was known before: nothing, or how far it was at the last look."""
    known = Known()
    known.positions = {"a": 3}
    watch = PositionWatcher(known, clock)
    assert await watch.until({"a": 3}, 1.0) == {}
    known.gate.clear()
    waiting = asyncio.create_task(watch.until({"a": 5, "b": 1}, 1.0))
    await _until(lambda: known.looks == 2)
    clock.advance(0.9)
    await _turns()
    assert not waiting.done()
    clock.advance(0.2)
    assert await asyncio.wait_for(waiting, 60) == {"a": CurrentPosition(3), "b": CurrentPosition()}
    await watch.close()


async def test_what_was_reached_at_the_last_look_is_not_said_to_be_there_by_one_that_hangs(clock: ManualClock) -> None:
    """A projection may have been switched back meanwhile."""
    known = Known()
    known.positions = {"a": 5}
    watch = PositionWatcher(known, clock)
    assert await watch.until({"a": 5}, 1.0) == {}
    known.gate.clear()
    waiting = asyncio.create_task(watch.until({"a": 5}, 1.0))
    await _until(lambda: known.looks == 2)
    clock.advance(1.1)
    assert "a" in await asyncio.wait_for(waiting, 60)
    await watch.close()


async def test_a_look_that_hangs_is_given_up_for_another(clock: ManualClock) -> None:
    """A connection may be dead without either side knowing; the next look takes another one."""
    known = Known()
    known.positions = {"a": 5}
    known.gate.clear()
    watch = PositionWatcher(known, clock, look_seconds=0.05)
    waiting = asyncio.create_task(watch.until({"a": 5}, 60.0))
    await _until(lambda: known.looks == 1)
    known.gate = asyncio.Event()
    known.gate.set()
    async with asyncio.timeout(30):
        while not waiting.done():
            clock.advance(0.01)
            await asyncio.sleep(0.001)
    assert await waiting == {}


async def test_one_look_that_is_asked_for_is_bounded_too(clock: ManualClock) -> None:
    known = Known()
    known.gate.clear()
    watch = PositionWatcher(known, clock)
    waiting = asyncio.create_task(watch.until({"a": 5}, 0.0))
    async with asyncio.timeout(30):
        while not waiting.done():
            clock.advance(0.5)
            await asyncio.sleep(0.005)
    assert await waiting == {"a": CurrentPosition()}
    await watch.close()


async def test_an_outage_that_has_passed_is_none_of_a_look_that_hangs(clock: ManualClock) -> None:
    known = Known()
    known.error = Unavailable("away")
    watch = PositionWatcher(known, clock)
    first = asyncio.create_task(watch.until({"a": 5}, 0.5))
    await _until(lambda: known.looks == 1)
    while not first.done():
        clock.advance(0.1)
        await _turns()
    with pytest.raises(Unavailable):
        await first
    clock.advance(1.0)
    await _turns()
    known.error = None
    known.gate.clear()
    second = asyncio.create_task(watch.until({"a": 5}, 0.5))
    await _turns()
    clock.advance(0.6)
    assert await asyncio.wait_for(second, 60) == {"a": CurrentPosition()}
    await watch.close()


async def test_closing_ends_the_waits(clock: ManualClock) -> None:
    known = Known()
    watch = PositionWatcher(known, clock)
    waiting = asyncio.create_task(watch.until({"a": 5}, 60.0))
    await _until(lambda: known.looks == 1)
    await watch.close()
    with pytest.raises(Unavailable):
        await waiting
    await watch.close()
