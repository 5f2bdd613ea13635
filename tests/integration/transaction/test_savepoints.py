"""What is collected inside a savepoint that is rolled back is not sent, by whatever way the savepoint was made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.integration.transaction.trial import Deposited, Happened, Order, messages, orders
from tests.unit.runtime.trial import memory_broker, settings_for
from tests.unit.saga.shapes import Checkout
from tests.unit.saga.shapes import Order as Placed

from freehold import RunningService, Service, Transaction
from freehold.aggregate import Decider, Repository
from freehold.sqlalchemy import connection, session

Savepoint = Callable[[Transaction], AbstractAsyncContextManager[object]]


class _TakeBack(Exception):
    """Rolls a savepoint back."""


@asynccontextmanager
async def _in_words(run: Callable[[str], Any], name: str) -> AsyncIterator[None]:
    await run(f"SAVEPOINT {name}")
    try:
        yield
    except _TakeBack:
        await run(f"ROLLBACK TO SAVEPOINT {name}")
        raise
    finally:
        await run(f"RELEASE {name}")


@asynccontextmanager
async def _of_the_driver(tx: Transaction) -> AsyncIterator[None]:
    driver: Any = (await connection(tx).get_raw_connection()).driver_connection
    async with driver.transaction() if hasattr(driver, "fetchval") else _in_words(driver.execute, "raw"):
        yield


@asynccontextmanager
async def _of_a_plain_session(tx: Transaction) -> AsyncIterator[None]:
    async with AsyncSession(connection(tx)) as plain, plain.begin_nested():
        yield


@asynccontextmanager
async def _of_a_session_in_one(tx: Transaction) -> AsyncIterator[None]:
    """A session that finds a savepoint makes one of its own, and commits that."""
    async with connection(tx).begin_nested(), AsyncSession(connection(tx)) as plain:
        await plain.execute(text("SELECT 1"))
        yield
        await plain.commit()


WAYS: dict[str, Savepoint] = {
    "connection": lambda tx: connection(tx).begin_nested(),
    "session": lambda tx: session(tx).begin_nested(),
    "plain session": _of_a_plain_session,
    "session in a savepoint": _of_a_session_in_one,
    "text": lambda tx: _in_words(lambda sql: connection(tx).execute(text(sql)), "Named"),
    "driver's text": lambda tx: _in_words(connection(tx).exec_driver_sql, '"Quoted name"'),
    "sql": lambda tx: _in_words(tx.sql.execute, "named"),
    "driver": _of_the_driver,
}


def _collect(tx: Transaction, name: str) -> None:
    tx.publish(Happened(name))
    tx.append("thing-1", Happened(name))
    tx.schedule(Happened(name), delay_seconds=60)


async def _counted(running: RunningService) -> tuple[int, int, int]:
    async with running.transaction() as tx:
        stored = (await tx.sql.fetch("SELECT count(*) FROM freehold_event"))[0][0]
        later = (await tx.sql.fetch("SELECT count(*) FROM freehold_schedule"))[0][0]
    return await messages(running), int(stored), int(later)


async def _taken_back(tx: Transaction, savepoint: AbstractAsyncContextManager[object], *, flushed: bool) -> None:
    with pytest.raises(_TakeBack):
        async with savepoint:
            _collect(tx, "inside")
            await tx.sql.execute("INSERT INTO own_order (order_id, pieces) VALUES ('inside', 1)")
            if flushed:
                await tx.write()
            raise _TakeBack


@pytest.mark.parametrize("flushed", ["", "flushed inside"])
async def test_what_is_collected_inside_goes_with_it(running: RunningService, flushed: str) -> None:
    """And what was collected before it stays, also where it was written inside it."""
    for turn, way in enumerate(WAYS.values(), 1):
        async with running.transaction() as tx:
            _collect(tx, "before")
            await _taken_back(tx, way(tx), flushed=bool(flushed))
            _collect(tx, "after")
        assert await _counted(running) == (2 * turn, 2 * turn, 2 * turn)
        assert await orders(running) == 0


async def test_what_is_collected_inside_stays_where_it_is_released(running: RunningService) -> None:
    for turn, way in enumerate(WAYS.values(), 1):
        async with running.transaction() as tx, way(tx):
            _collect(tx, "inside")
            session(tx).add(Order(order_id=f"{turn}"))
        assert await _counted(running) == (turn, turn, turn)
        assert await orders(running) == turn


async def test_savepoints_in_savepoints(running: RunningService) -> None:
    """Of the same name, too: a rollback takes the innermost; the outer one takes all that is inside."""
    async with running.transaction() as tx:
        _collect(tx, "1")
        await tx.sql.execute("SAVEPOINT a")
        _collect(tx, "2")
        await tx.sql.execute("SAVEPOINT a")
        _collect(tx, "3")
        await tx.sql.execute("ROLLBACK TO a")
        _collect(tx, "4")
        await tx.sql.execute("RELEASE a")
        await tx.sql.execute("SAVEPOINT b")
        _collect(tx, "5")
    assert await _counted(running) == (4, 4, 4)
    async with running.transaction() as tx:
        await tx.sql.execute("SAVEPOINT a")
        async with connection(tx).begin_nested():
            _collect(tx, "6")
        await tx.sql.execute("ROLLBACK TO A")
        await tx.sql.execute("ROLLBACK TO A")
    assert await _counted(running) == (4, 4, 4)


async def test_a_scheduled_message_that_was_cancelled_inside_comes_back(running: RunningService) -> None:
    async with running.transaction() as tx:
        kept = tx.schedule(Happened("kept"), delay_seconds=60)
        with pytest.raises(_TakeBack):
            async with session(tx).begin_nested():
                assert await tx.cancel(kept)
                raise _TakeBack
    assert await _counted(running) == (0, 0, 1)


async def test_a_session_in_a_savepoint_of_its_own_may_commit_it(running: RunningService) -> None:
    """For code that calls `commit` and `rollback`: `join_transaction_mode="create_savepoint"`."""
    async with running.transaction() as tx:
        own = AsyncSession(connection(tx), join_transaction_mode="create_savepoint")
        own.add(Order(order_id="kept"))
        await own.flush()
        tx.publish(Happened("kept"))
        await own.commit()
        own.add(Order(order_id="dropped"))
        await own.flush()
        tx.publish(Happened("dropped"))
        await own.rollback()
        await own.close()
    assert await orders(running) == 1
    assert await messages(running) == 1


async def test_a_session_that_is_opened_inside_works_on(running: RunningService) -> None:
    async with running.transaction() as tx:
        with pytest.raises(_TakeBack):
            async with connection(tx).begin_nested():
                opened = session(tx)
                opened.add(Order(order_id="inside"))
                await opened.flush()
                raise _TakeBack
        opened.add(Order(order_id="after"))
    assert await orders(running) == 1


@pytest.mark.parametrize("known", ["", "after another"])
async def test_a_saga_that_was_begun_inside_is_none(database_url: str, known: str) -> None:
    """Neither its row nor its first command, nor its journal; those that were begun before go on."""
    directing = Service("orders")
    directing.orchestrates(Checkout)
    settings = settings_for("orders", database=database_url)
    async with RunningService(directing, settings, broker=memory_broker(), roles=()) as running:
        async with running.transaction() as tx:
            if known:
                await Checkout.start(tx, Placed("before"))
            with pytest.raises(_TakeBack):
                async with connection(tx).begin_nested():
                    await Checkout.start(tx, Placed("inside"))
                    raise _TakeBack
            await Checkout.start(tx, Placed("after"))
        async with running.transaction() as tx:
            sagas = (await tx.sql.fetch("SELECT count(*) FROM freehold_saga"))[0][0]
        assert (sagas, await messages(running)) == ((2, 2) if known else (1, 1))


async def test_what_an_aggregate_decided_inside_is_not_appended(running: RunningService) -> None:
    """Nor seen by what is decided after it, in the same transaction."""
    accounts = Repository(Decider("account", 0, _deposit, _deposited))
    async with running.transaction() as tx:
        await accounts.execute(tx, "a", 1)
        with pytest.raises(_TakeBack):
            async with session(tx).begin_nested():
                assert (await accounts.execute(tx, "a", 10)).state == 11
                raise _TakeBack
        assert (await accounts.execute(tx, "a", 100)).state == 101
    async with running.transaction() as tx:
        loaded = await accounts.load(tx, "a")
    assert (loaded.state, loaded.version) == (101, 2)


def _deposit(_state: int, command: int) -> list[Deposited]:
    return [Deposited("a", command)]


def _deposited(state: int, deposited: Deposited) -> int:
    return state + deposited.pieces
