"""One call for all keys: of a turn, of a window, of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from tests.unit.composition.timing import MovedClock, settle

from freehold.composition import Loader
from freehold.errors import Unavailable


class Shelf:
    """Values of all keys that do not begin with an x; keeps what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.fails_for = "nothing"
        self.open = asyncio.Event()
        self.open.set()
        self.cancelled = 0
        self.at_once = self.at_once_max = 0

    async def load(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.calls.append(list(keys))
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        if self.fails_for in keys:
            raise Unavailable("the shelf is broken")
        return {key: key.upper() for key in keys if not key.startswith("x")}


async def test_keys_asked_for_one_by_one_in_a_turn_are_one_call() -> None:
    shelf = Shelf()
    loader = Loader(shelf.load)
    found = await asyncio.gather(*(loader.load(key) for key in ["a", "b", "a", "xc"]))
    assert found == ["A", "B", "A", None]
    assert shelf.calls == [["a", "b", "xc"]]


async def test_many_keys_are_split_and_few_calls_made_at_once() -> None:
    shelf = Shelf()
    loader = Loader(shelf.load, size_max=10)
    keys = [f"k{number}" for number in range(95)]
    shelf.open.clear()
    loading = asyncio.create_task(loader.load_all(keys))
    await settle()
    assert len(shelf.calls) == 4
    shelf.open.set()
    assert await loading == {key: key.upper() for key in keys}
    assert [len(call) for call in shelf.calls] == [10] * 9 + [5]
    assert shelf.at_once_max == 4


async def test_a_call_that_fails_fails_its_own_keys() -> None:
    shelf = Shelf()
    shelf.fails_for = "b"
    loader = Loader(shelf.load, size_max=1)
    found = await asyncio.gather(*(loader.load(key) for key in "abc"), return_exceptions=True)
    assert (found[0], type(found[1]), found[2]) == ("A", Unavailable, "C")


async def test_over_a_window_callers_share_a_call() -> None:
    shelf, clock = Shelf(), MovedClock()
    loader = Loader(shelf.load, window_seconds=0.01, clock=clock)
    first = asyncio.create_task(loader.load("a"))
    await clock.advance(0.009)
    second = asyncio.create_task(loader.load_all(["b", "a"]))
    await clock.advance(0.001)
    assert (await first, await second) == ("A", {"b": "B", "a": "A"})
    assert shelf.calls == [["a", "b"]]
    third = asyncio.create_task(loader.load("a"))
    await clock.advance(0.01)
    assert await third == "A"
    assert len(shelf.calls) == 2


async def test_what_is_remembered_is_asked_for_once() -> None:
    shelf = Shelf()
    loader = Loader(shelf.load, remember=True)
    shelf.open.clear()
    first = asyncio.create_task(loader.load("a"))
    await settle()
    second = asyncio.create_task(loader.load_all(["a", "b"]))
    await settle()
    shelf.open.set()
    assert (await first, await second, await loader.load("b")) == ("A", {"a": "A", "b": "B"}, "B")
    assert shelf.calls == [["a"], ["b"]]


@pytest.mark.parametrize("window_seconds", [0.0, 1.0])
async def test_who_leaves_leaves_the_others_waiting_and_the_last_one_ends_the_call(window_seconds: float) -> None:
    shelf, clock = Shelf(), MovedClock()
    shelf.open.clear()
    loader = Loader(shelf.load, window_seconds=window_seconds, clock=clock)
    before = asyncio.all_tasks()
    waiting = [asyncio.create_task(loader.load(key)) for key in "ab"]
    await clock.advance(window_seconds)
    waiting[0].cancel()
    await settle()
    assert (shelf.cancelled, waiting[1].done()) == (0, False)
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert shelf.cancelled == 1
    assert asyncio.all_tasks() == before
    shelf.open.set()
    again = asyncio.create_task(loader.load("a"))
    await clock.advance(window_seconds)
    assert await again == "A"


async def test_a_batch_that_everybody_left_while_it_collected_is_not_joined() -> None:
    shelf, clock = Shelf(), MovedClock()
    loader = Loader(shelf.load, window_seconds=1.0, clock=clock)
    first = asyncio.create_task(loader.load("a"))
    await settle()
    first.cancel()
    await settle()
    second = asyncio.create_task(loader.load("b"))
    await clock.advance(1.0)
    assert await second == "B"
    assert shelf.calls == [["b"]]


@pytest.mark.parametrize("turns", range(5))
async def test_whoever_comes_in_the_turn_in_which_the_last_one_leaves_gets_its_keys(turns: int) -> None:
    shelf, clock = Shelf(), MovedClock()
    loader = Loader(shelf.load, window_seconds=1.0, clock=clock)
    first = asyncio.create_task(loader.load("a"))
    await settle()
    second = asyncio.create_task(loader.load("b"))
    for _ in range(turns):
        await asyncio.sleep(0)
    first.cancel()
    await clock.advance(1.0)
    assert await second == "B"
