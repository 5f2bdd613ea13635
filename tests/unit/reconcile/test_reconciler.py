"""Comparing two sides in memory: whatever differs is found, whatever is in progress is not taken for drift."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.clock import SystemClock
from freehold.consistency.token import EMPTY_TOKEN, ConsistencyToken
from freehold.errors import DeclarationError
from freehold.reconcile import Dataset, DatasetTable, Drift, DriftKind, Reconciler, Replica
from freehold.reconcile import reconciler as module
from freehold.reconcile.dataset import FullRow, RangeDigest, RowDigest, digest_of, row_digest

THINGS = Dataset("store.things", "thing", ("size", "colour"))
Rows = dict[str, tuple[int, str | None]]


class DatasetReader:
    def __init__(self, rows: Rows) -> None:
        self.data = rows

    async def digest(self, after: str, through: str | None, limit: int) -> RangeDigest:
        rows = await self.keys(after, through, limit)
        end = through if through is not None else rows[-1].key if len(rows) == limit else None
        return RangeDigest(after, end, len(rows), digest_of(rows))

    async def keys(self, after: str, through: str | None, limit: int) -> Sequence[RowDigest]:
        wanted = [
            key
            for key in sorted(self.data, key=str.encode)
            if key.encode() > after.encode() and (through is None or key.encode() <= through.encode())
        ]
        return [RowDigest(key, row_digest((key, *self.data[key]))) for key in wanted[:limit]]

    async def rows(self, keys: Sequence[str]) -> Sequence[FullRow]:
        return [(key, *self.data[key]) for key in keys if key in self.data]

    async def publish_barrier(self) -> ConsistencyToken:
        return EMPTY_TOKEN


class Mending:
    def __init__(self, side: DatasetReader) -> None:
        self.side = side

    async def repair(self, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]) -> Sequence[str]:
        for key, (right, _) in wrong.items():
            if right is None:
                del self.side.data[key]
            else:
                self.side.data[key] = right[1:]  # type: ignore[assignment] # the row's own fields
        return list(wrong)


async def at_once(_: ConsistencyToken) -> bool:
    return True


def compared(
    source: DatasetReader,
    replica: DatasetReader,
    settled: Callable[[ConsistencyToken], Awaitable[bool]] = at_once,
    **more: Any,
) -> Reconciler:
    return Reconciler(THINGS, source, replica, settled, SystemClock(), **more)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RANGE_ROWS", 8)
    monkeypatch.setattr(module, "_LEAF_ROWS", 3)
    monkeypatch.setattr(module, "_CONFIRM_KEYS", 4)


rows = st.dictionaries(
    st.text("abé\U0001f600", min_size=1, max_size=3),
    st.tuples(st.integers(0, 2), st.none() | st.sampled_from(["red", "blue"])),
    max_size=40,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=rows, replica=rows)
async def test_exactly_what_differs_is_drift_and_is_repaired(source: Rows, replica: Rows) -> None:
    right, own = DatasetReader(dict(source)), DatasetReader(dict(replica))
    result = await compared(right, own, repair=Mending(own)).run()
    expected = {key for key in source.keys() | replica.keys() if source.get(key) != replica.get(key)}
    assert {each.key for each in result.drift} == expected == set(result.repaired)
    assert own.data == source == right.data
    assert result.agrees
    assert not (await compared(right, own).run()).drift


async def test_each_kind_of_drift_is_told_by_its_fields() -> None:
    right = DatasetReader({"a": (1, "red"), "b": (1, "red"), "c": (1, "red")})
    own = DatasetReader({"a": (1, "blue"), "c": (1, "red"), "d": (1, "red")})
    result = await compared(right, own).run()
    assert result.drift == [
        Drift("a", DriftKind.DIFFERENT, ("colour",)),
        Drift("b", DriftKind.MISSING),
        Drift("d", DriftKind.EXTRA),
    ]
    assert not result.agrees


async def test_what_arrives_before_the_fence_is_in_flight() -> None:
    right, own = DatasetReader({"a": (2, "red"), "b": (1, None)}), DatasetReader({"a": (1, "red")})

    async def arriving(_: ConsistencyToken) -> bool:
        own.data.update(right.data)
        return True

    result = await compared(right, own, arriving, repair=Mending(own)).run()
    assert result.drift == []
    assert result.in_flight == 2
    assert result.agrees


async def test_a_row_that_keeps_changing_is_not_drift() -> None:
    right, own = DatasetReader({"a": (0, "red")}), DatasetReader({"a": (9, "red")})

    async def changing(_: ConsistencyToken) -> bool:
        right.data["a"] = (right.data["a"][0] + 1, "red")
        return True

    result = await compared(right, own, changing).run()
    assert result.drift == []
    assert result.inconclusive == ["a"]
    assert not result.agrees


async def test_a_copy_with_far_more_rows_than_its_source_is_compared_to_the_end() -> None:
    """All of the surplus lies in one range of the source."""
    surplus = {f"{number:05}": (0, None) for number in range(2_000)}
    right, own = DatasetReader({"01000": (0, None)}), DatasetReader({**surplus, "01000": (1, None)})
    result = await compared(right, own, repair=Mending(own)).run()
    assert len(result.drift) == 2_000
    assert own.data == right.data
    assert result.agrees


async def test_no_more_than_drift_max_rows_are_repaired() -> None:
    """A source that was emptied, or a wrong database, does not take the whole replica with it."""
    own = DatasetReader({f"{number:05}": (0, None) for number in range(200)})
    result = await compared(DatasetReader({}), own, drift_max=10, repair=Mending(own)).run()
    assert len(result.repaired) <= 10 < len(result.drift) < 20
    assert len(own.data) == 200 - len(result.repaired)
    assert not result.complete
    assert not result.agrees


async def test_a_consumer_that_stands_still_is_waited_for_once() -> None:
    waits: list[ConsistencyToken] = []

    async def never(token: ConsistencyToken) -> bool:
        waits.append(token)
        return False

    right = DatasetReader({f"{number:05}": (0, None) for number in range(200)})
    result = await compared(right, DatasetReader({}), never).run()
    assert len(waits) == 1
    assert 0 < len(result.inconclusive) <= 8
    assert not result.complete
    assert not result.agrees


async def test_a_copy_that_does_not_come_to_the_fence_is_unsettled() -> None:
    async def never(_: ConsistencyToken) -> bool:
        return False

    own = DatasetReader({})
    result = await compared(DatasetReader({"a": (0, None)}), own, never, repair=Mending(own)).run()
    assert (result.drift, result.repaired, result.inconclusive) == ([], [], ["a"])
    assert own.data == {}


def test_a_boolean_has_the_digest_of_an_engine_without_any() -> None:
    """SQLite gives back 0 and 1; a replica there of a source on PostgreSQL is not different for that."""
    assert row_digest(("a", True, False, None)) == row_digest(("a", 1, 0, None))
    assert row_digest(("a", 1)) != row_digest(("a", "1"))


async def test_a_wholly_different_copy_is_not_compared_to_the_end() -> None:
    right = DatasetReader({f"{number:05}": (0, None) for number in range(200)})
    result = await compared(right, DatasetReader({}), drift_max=10).run()
    assert 10 < len(result.drift) < 30


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Dataset("things", "a", ("b",)),
        lambda: Dataset("store.things", "a", ()),
        lambda: Dataset("store.things", "a", ("a",)),
        lambda: DatasetTable(THINGS, "things; DROP TABLE things"),
        lambda: DatasetTable(THINGS, "things", {"size": 'size" FROM secrets --'}),
        lambda: Replica(THINGS, "things", {"weight": "weight"}),
    ],
)
def test_names_that_cannot_be_meant_are_refused(declare: Callable[[], object]) -> None:
    with pytest.raises(DeclarationError):
        declare()
