"""Stock on each engine: all lines or none, never below nothing, and every change in the ledger."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from sqlalchemy import func, select
from tests.integration.shop.services.conftest import Opener

from freehold.ids import derive_id
from freehold.inbox.reply import Rejected
from freehold.runtime import RunningService
from freehold.transaction import Transaction
from freehold_shop.inventory import reservations
from freehold_shop.inventory.contracts import StockLine
from freehold_shop.inventory.tables import reservation, stock, stock_movement


async def receive(running: RunningService, **quantities: int) -> None:
    async with running.transaction() as tx:
        lines = [StockLine(sku, quantity) for sku, quantity in quantities.items()]
        assert await reservations.receive(tx, str(derive_id(*sorted(quantities))), lines)


async def reserve(running: RunningService, order_id: str, **quantities: int) -> Rejected | None:
    lines = [StockLine(sku, quantity) for sku, quantity in quantities.items()]
    return await running.transact(lambda tx: reservations.reserve(tx, order_id, lines))


async def shelf(running: RunningService) -> dict[str, tuple[int, int]]:
    """Stock by product, after checking that it is the sum of its movements."""
    async with running.transaction() as tx:
        rows = await tx.connection.execute(select(stock.c.sku, stock.c.on_hand, stock.c.reserved))
        found = {sku: (on_hand, reserved) for sku, on_hand, reserved in rows}
        sums = await tx.connection.execute(
            select(
                stock_movement.c.sku,
                func.sum(stock_movement.c.delta_on_hand),
                func.sum(stock_movement.c.delta_reserved),
            ).group_by(stock_movement.c.sku)
        )
        assert found == {sku: (int(on_hand), int(reserved)) for sku, on_hand, reserved in sums}
    return found


async def test_all_lines_are_held_or_none(opened: Opener) -> None:
    async with opened("inventory") as running:
        await receive(running, A=10, B=1)
        assert await reserve(running, "o1", A=4, B=1) is None
        assert await reserve(running, "o2", A=4, B=1) == Rejected(
            "insufficient-stock", "1 of 2 products have too little free stock"
        )
        assert await reserve(running, "o3", Z=1) is not None
        assert await shelf(running) == {"A": (10, 4), "B": (1, 1)}


async def test_a_delivery_is_received_once(opened: Opener) -> None:
    async with opened("inventory") as running:
        await receive(running, A=10)
        async with running.transaction() as tx:
            assert not await reservations.receive(tx, str(derive_id("A")), [StockLine("A", 10)])
            assert await reservations.receive(tx, "another", [StockLine("A", 5)])
        assert await shelf(running) == {"A": (15, 0)}


async def test_confirmed_goods_leave_and_released_goods_stay(opened: Opener) -> None:
    async with opened("inventory") as running:
        await receive(running, A=10)
        await reserve(running, "o1", A=4)
        await reserve(running, "o2", A=3)
        async with running.transaction() as tx:
            assert await reservations.commit(tx, "o1")
            assert await reservations.release(tx, "o2")
            assert not await reservations.release(tx, "o1")
            assert await reservations.commit(tx, "o1")
        assert await shelf(running) == {"A": (6, 0)}


async def test_an_expired_hold_is_served_from_free_stock_as_long_as_there_is_any(opened: Opener) -> None:
    async with opened("inventory") as running:
        await receive(running, A=10)
        for order_id in ("o1", "o2"):
            await reserve(running, order_id, A=5)
            async with running.transaction() as tx:
                assert await reservations.expire(tx, order_id)
                assert not await reservations.expire(tx, order_id)
        await reserve(running, "o3", A=2)
        async with running.transaction() as tx:
            assert await reservations.commit(tx, "o1")
            assert not await reservations.commit(tx, "o2")
        assert await shelf(running) == {"A": (5, 2)}


async def test_goods_come_back_only_when_they_left(opened: Opener) -> None:
    async with opened("inventory") as running:
        await receive(running, A=10)
        await reserve(running, "o1", A=5)
        try:
            async with running.transaction() as tx:
                await reservations.restock(tx, "o1", "C1", [StockLine("A", 1)])
        except reservations.ReturnTooEarly:
            pass
        else:
            raise AssertionError("goods that have not left came back")
        async with running.transaction() as tx:
            await reservations.commit(tx, "o1")
            await reservations.restock(tx, "o1", "C1", [StockLine("A", 1)])
        assert await shelf(running) == {"A": (6, 0)}


async def test_buyers_at_once_never_get_more_than_there_is(opened: Opener) -> None:
    async with opened("inventory") as running:
        await receive(running, A=10, B=10, C=10)
        wanted = [{"A": 1, "B": 1, "C": 1}, {"C": 1, "B": 1, "A": 1}] * 8
        async with asyncio.TaskGroup() as buyers:
            results = [
                buyers.create_task(reserve(running, f"o{number}", **lines)) for number, lines in enumerate(wanted)
            ]
        assert sum(task.result() is None for task in results) == 10
        assert await shelf(running) == {"A": (10, 10), "B": (10, 10), "C": (10, 10)}


async def test_holds_that_end_at_once_lose_nothing(opened: Opener) -> None:
    async with opened("inventory") as running:
        await receive(running, A=40, B=40, C=40)
        wanted = [{"A": 1, "B": 2} if number % 3 else {"C": 1, "B": 1, "A": 2} for number in range(20)]
        for number, lines in enumerate(wanted):
            assert await reserve(running, f"o{number}", **lines) is None
        async with asyncio.TaskGroup() as workers:
            commits = []
            for number in range(20):
                other = reservations.release if number % 2 else reservations.expire
                commits.append(workers.create_task(_end(running, reservations.commit, f"o{number}")))
                workers.create_task(_end(running, other, f"o{19 - number}"))
        sold = Counter[str]()
        for task, lines in zip(commits, wanted, strict=True):
            sold.update(lines if task.result() else {})
        assert sum(task.result() for task in commits) > 0
        assert await shelf(running) == {sku: (40 - sold[sku], 0) for sku in "ABC"}


async def _end(running: RunningService, end: Callable[[Transaction, str], Awaitable[bool]], order_id: str) -> bool:
    return await running.transact(lambda tx: end(tx, order_id))


async def test_a_large_order_takes_few_statements_and_a_repeated_one_changes_nothing(opened: Opener) -> None:
    async with opened("inventory") as running:
        large = {f"S{number}": 3 for number in range(600)}
        await receive(running, **large)
        assert await reserve(running, "o1", **large) is None
        assert await reserve(running, "o1", **large) is None
        assert set((await shelf(running)).values()) == {(3, 3)}
        async with running.transaction() as tx:
            count = await tx.connection.execute(select(func.count()).select_from(reservation))
            assert count.scalar_one() == 1
