"""Reference data: fresh, then stale while it is fetched again, then a substitute for what does not answer; bounded."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.composition.timing import MovedClock, settle

from freehold.composition import CachePolicy, Freshness, ReferenceCache
from freehold.errors import DeclarationError, OperationTimeout, Unavailable

POLICY = CachePolicy(
    ttl_seconds=10,
    revalidate_seconds=5,
    error_seconds=60,
    negative_ttl_seconds=2,
    retry_seconds=1,
    size_max=3,
    load_seconds=4,
)


class Origin:
    """Where the data is: every answer is another edition, of keys that do not begin with an x."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.down = False
        self.open = asyncio.Event()
        self.open.set()
        self.cancelled = 0

    async def load(self, key: str) -> str | None:
        self.loads.append(key)
        edition = len(self.loads)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.down:
            raise Unavailable("nobody there")
        return None if key.startswith("x") else f"{key}{edition}"


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def cache(origin: Origin, clock: MovedClock) -> ReferenceCache[str, str]:
    return ReferenceCache(origin.load, POLICY, clock=clock)


Cache = ReferenceCache[str, str]


async def test_a_fresh_entry_is_not_asked_for(cache: Cache, origin: Origin, clock: MovedClock) -> None:
    assert (await cache.get("a")).value == "a1"
    await clock.advance(9.9)
    found = await cache.get("a")
    assert (found.value, found.freshness) == ("a1", Freshness.FRESH)
    assert found.age_seconds == pytest.approx(9.9)
    assert origin.loads == ["a"]


async def test_many_who_ask_at_once_are_one_fetch(cache: Cache, origin: Origin) -> None:
    origin.open.clear()
    waiting = [asyncio.create_task(cache.get("a")) for _ in range(100)]
    await settle()
    origin.open.set()
    assert {(await each).value for each in waiting} == {"a1"}
    assert origin.loads == ["a"]


async def test_past_its_time_it_is_given_out_and_fetched_behind_the_answer(
    cache: Cache, origin: Origin, clock: MovedClock
) -> None:
    await cache.get("a")
    await clock.advance(10)
    origin.open.clear()
    stale = [await cache.get("a") for _ in range(10)]
    assert {(found.value, found.freshness) for found in stale} == {("a1", Freshness.STALE)}
    await settle()
    assert origin.loads == ["a", "a"]
    origin.open.set()
    await settle()
    found = await cache.get("a")
    assert (found.value, found.freshness) == ("a2", Freshness.FRESH)


async def test_later_it_is_fetched_before_the_answer(cache: Cache, origin: Origin, clock: MovedClock) -> None:
    await cache.get("a")
    await clock.advance(15)
    assert (await cache.get("a")).value == "a2"


async def test_where_the_source_does_not_answer_it_stands_in_marked_and_for_a_bounded_time(
    cache: Cache, origin: Origin, clock: MovedClock
) -> None:
    await cache.get("a")
    origin.down = True
    await clock.advance(20)
    found = await cache.get("a")
    assert (found.value, found.freshness) == ("a1", Freshness.STALE_ON_ERROR)
    await cache.get("a")
    assert len(origin.loads) == 2, "after a failure it is not asked again at once"
    await clock.advance(1)
    await cache.get("a")
    assert len(origin.loads) == 3
    await clock.advance(49)
    with pytest.raises(Unavailable):
        await cache.get("a")
    origin.down = False
    assert (await cache.get("a")).freshness is Freshness.FRESH


async def test_a_failure_behind_the_answer_marks_what_is_given_out_next(
    cache: Cache, origin: Origin, clock: MovedClock
) -> None:
    await cache.get("a")
    origin.down = True
    await clock.advance(11)
    assert (await cache.get("a")).freshness is Freshness.STALE
    for _ in range(5):
        await settle()
        assert (await cache.get("a")).freshness is Freshness.STALE_ON_ERROR
    assert len(origin.loads) == 2, "after a failure it is not asked again at once"


async def test_a_source_that_hangs_is_given_up(cache: Cache, origin: Origin, clock: MovedClock) -> None:
    origin.open.clear()
    asking = asyncio.create_task(cache.get("a"))
    await clock.advance(4)
    with pytest.raises(OperationTimeout):
        await asking
    assert origin.cancelled == 1


async def test_what_does_not_exist_is_believed_for_a_while(cache: Cache, origin: Origin, clock: MovedClock) -> None:
    assert (await cache.get("xa")).value is None
    await clock.advance(1.9)
    assert (await cache.get("xa")).value is None
    assert origin.loads == ["xa"]
    await clock.advance(0.1)
    await cache.get("xa")
    assert origin.loads == ["xa", "xa"]


async def test_it_is_bounded_and_what_does_not_exist_pushes_nothing_out(cache: Cache, origin: Origin) -> None:
    for key in ("a", "b", "c"):
        await cache.get(key)
    for number in range(50):
        await cache.get(f"x{number}")
    await cache.get("a")
    assert origin.loads.count("a") == 1
    await cache.get("d")
    assert len(cache) == 6
    await cache.get("a")
    await cache.get("b")
    assert (origin.loads.count("a"), origin.loads.count("b")) == (1, 2), "the least recently used one goes"


async def test_a_fetch_from_before_an_invalidation_is_not_kept(cache: Cache, origin: Origin) -> None:
    before = origin.open
    before.clear()
    early = asyncio.create_task(cache.get("a"))
    await settle()
    cache.invalidate("a")
    origin.open = asyncio.Event()
    origin.open.set()
    assert (await cache.get("a")).value == "a2"
    before.set()
    assert (await early).value == "a1"
    assert (await cache.get("a")).value == "a2"


async def test_the_last_one_who_leaves_ends_the_fetch(cache: Cache, origin: Origin) -> None:
    origin.open.clear()
    before = asyncio.all_tasks()
    waiting = [asyncio.create_task(cache.get("a")) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    await settle()
    assert origin.cancelled == 0
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert origin.cancelled == 1
    assert asyncio.all_tasks() == before
    origin.open.set()
    assert (await cache.get("a")).value == "a2"


async def test_closed_it_leaves_nothing_behind(cache: Cache, origin: Origin, clock: MovedClock) -> None:
    await cache.get("a")
    await clock.advance(11)
    origin.open.clear()
    before = asyncio.all_tasks()
    await cache.get("a")
    waiting = asyncio.create_task(cache.get("b"))
    await settle()
    await cache.close()
    with pytest.raises(Unavailable):
        await waiting
    assert asyncio.all_tasks() == before


def test_numbers_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(DeclarationError):
        CachePolicy(ttl_seconds=0)
    with pytest.raises(DeclarationError):
        CachePolicy(size_max=0)
