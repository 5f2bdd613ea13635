"""The order of the tests: nothing is lost, long files stay whole, and every process begins with its share of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.names import ROOT
from tests.order import SECONDS, spread


@dataclass(frozen=True)
class _Item:
    nodeid: str


def _items(short: int = 2000, of_each: int = 5) -> list[_Item]:
    listed = [_Item(f"{file}::test_{number}") for file in SECONDS for number in range(of_each)]
    return [*listed, *(_Item(f"tests/unit/short/test_short.py::test_{number}") for number in range(short))]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7])
def test_every_test_runs_once_and_every_process_begins_with_its_share(workers: int) -> None:
    items = _items()
    found = spread(items, workers)
    assert sorted(each.nodeid for each in found) == sorted(each.nodeid for each in items)
    loads, rest = [], len(found)
    for left in range(workers, 0, -1):
        size = rest // left
        part, rest = found[len(found) - rest :][:size], rest - size
        files = [each.nodeid.partition("::")[0] for each in part]
        order = list(dict.fromkeys(files))
        assert files == sorted(files, key=order.index), "a file is not whole"
        assert order[-1] not in SECONDS
        assert all(file in SECONDS for file in order[:-1])
        loads.append(sum(SECONDS.get(file, 0.0) for file in order))
    assert max(loads) - min(loads) <= max(SECONDS.values())


@pytest.mark.parametrize("short", [0, 1, 3])
def test_where_a_share_is_more_than_a_part_it_goes_on_in_the_next(short: int) -> None:
    items = _items(short, of_each=3)[: 3 + short]
    for workers in (1, 2, 3, 8):
        assert sorted(each.nodeid for each in spread(items, workers)) == sorted(each.nodeid for each in items)


def test_every_file_that_is_listed_exists() -> None:
    assert [file for file in SECONDS if not (ROOT / file).exists()] == []
