"""Checks of the verification on rows that a shop under faults has left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from freehold_shop.verify.checks.stock import goods_came_back_for_returns
from freehold_shop.verify.schema import SCHEMA
from freehold_shop.verify.scratch import Scratch


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with Scratch() as found:
        found.script(SCHEMA)
        yield found


def _order_with_a_return(scratch: Scratch, status: str, *, restocked: int) -> None:
    row = ("o-1", "c-1", "saga", status, 500, 3, 1, 500, 1, 2, int(status != "cancelled"), 1, 1)
    scratch.load(f"INSERT INTO customer_order VALUES ({', '.join('?' * len(row))})", [row])
    scratch.load("INSERT INTO order_return VALUES (?, ?, ?, ?, ?, ?)", [("r-1", "o-1", 100, 1, 1, 2)])
    if restocked:
        scratch.load("INSERT INTO moved_by_reference VALUES (?, ?, ?, ?)", [("r-1/o-1", "returned", restocked, 0)])


@pytest.mark.parametrize(
    ("status", "restocked", "ok"),
    [
        ("partially-returned", 1, True),
        ("partially-returned", 0, False),
        ("partially-returned", 2, False),
        ("cancelled", 0, True),
        ("cancelled", 1, False),
    ],
)
def test_the_goods_of_a_return_came_back_if_they_had_left(
    scratch: Scratch, status: str, restocked: int, ok: bool
) -> None:
    """A hold that expired because a clock was an hour early: the order is cancelled after its return was accepted."""
    _order_with_a_return(scratch, status, restocked=restocked)
    assert goods_came_back_for_returns(scratch).ok is ok
