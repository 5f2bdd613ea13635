"""The order of sales and returns of one customer."""

from __future__ import annotations

import asyncio

from freehold_shop.replay.customers import Customers, Turn


def _waits(turn: Turn) -> bool:
    waiting = turn.wait()
    try:
        waiting.send(None)
    except StopIteration:
        return False
    finally:
        waiting.close()
    return True


async def test_sales_do_not_wait_for_each_other() -> None:
    customers = Customers()
    assert [_waits(customers.sale("7")) for _ in range(3)] == [False, False, False]


async def test_a_return_waits_for_everything_before_it() -> None:
    customers = Customers()
    first, second = customers.sale("7"), customers.sale("7")
    back = customers.return_("7")
    assert _waits(back)
    first.done()
    assert _waits(back)
    second.done()
    assert not _waits(back)


async def test_what_follows_a_return_waits_until_it_is_matched_and_no_longer() -> None:
    customers = Customers()
    back = customers.return_("7")
    later = customers.sale("7")
    assert _waits(later)
    back.matched()
    assert not _waits(later)
    assert not _waits(customers.sale("8"))


async def test_a_return_that_fails_lets_the_next_ones_go() -> None:
    customers = Customers()
    back, later = customers.return_("7"), customers.sale("7")
    back.done()
    await asyncio.wait_for(later.wait(), 30.0)


async def test_customers_with_nothing_open_are_forgotten() -> None:
    customers = Customers()
    turns = [customers.sale("7"), customers.return_("7"), customers.sale("8")]
    for turn in turns:
        turn.done()
    assert len(customers) == 0
