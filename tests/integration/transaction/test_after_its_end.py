"""What belongs to a transaction is kept past its end: it refuses, and reaches no other transaction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncResult, AsyncSession
from tests.integration.transaction.trial import Happened, Order, messages, orders

from freehold import RunningService, SqlConnection, Transaction
from freehold.errors import FreeholdError, TransactionEnded, TransactionMisused
from freehold.sql import SQL
from freehold.sqlalchemy import connection, run_sync, session

INSERT = text("INSERT INTO own_order (order_id, pieces) VALUES ('late', 1)")


@dataclass
class Kept:
    """Everything that somebody may hold on to."""

    tx: Transaction
    connection: AsyncConnection
    session: AsyncSession
    plain: AsyncSession
    unused: AsyncSession
    sql: SqlConnection
    stream: AsyncResult[Any]
    raw: Any


async def keep(tx: Transaction) -> Kept:
    native = connection(tx)
    opened, plain = session(tx), AsyncSession(native)
    for each in (opened, plain):
        await each.execute(select(Order))
    return Kept(
        tx,
        native,
        opened,
        plain,
        AsyncSession(native),
        tx.sql,
        await native.stream(text("SELECT order_id FROM own_order")),
        (await native.get_raw_connection()).driver_connection,
    )


async def _add_late(opened: AsyncSession) -> None:
    opened.add(Order(order_id="late"))
    await opened.flush()


def _insert(sync: Connection) -> None:
    sync.execute(INSERT)


USES: dict[str, Callable[[Kept], Awaitable[Any]]] = {
    "connection": lambda kept: kept.connection.execute(INSERT),
    "connection's text": lambda kept: kept.connection.exec_driver_sql(INSERT.text),
    "connection in a greenlet": lambda kept: kept.connection.run_sync(_insert),
    "connection's savepoint": lambda kept: kept.connection.begin_nested().start(),
    "connection's driver": lambda kept: kept.connection.get_raw_connection(),
    "another stream": lambda kept: kept.connection.stream(INSERT),
    "session": lambda kept: kept.session.execute(INSERT),
    "session that flushes": lambda kept: _add_late(kept.session),
    "session that is opened": lambda kept: _as_coroutine(lambda: session(kept.tx)),
    "session in a greenlet": lambda kept: run_sync(kept.tx, lambda opened: opened.execute(INSERT)),
    "plain session": lambda kept: kept.plain.execute(INSERT),
    "plain session that flushes": lambda kept: _add_late(kept.plain),
    "plain session that commits": lambda kept: kept.plain.commit(),
    "session of no use so far": lambda kept: _add_late(kept.unused),
    "sql": lambda kept: kept.sql.execute(INSERT.text),
    "sql that reads": lambda kept: kept.sql.fetch("SELECT 1"),
    "sql with many rows": lambda kept: kept.sql.execute_many(
        "INSERT INTO own_order (order_id, pieces) VALUES ($1, 1)", [("late",)]
    ),
    "stream": lambda kept: kept.stream.fetchall(),
    "driver": lambda kept: kept.raw.execute(INSERT.text),
    "cancel": lambda kept: kept.tx.cancel(kept.tx.staging.envelope(Happened("a")).id),
    "send of a handler": lambda kept: _as_coroutine(lambda: kept.tx.publish(Happened("late"))),
}


async def _as_coroutine(work: Callable[[], Any]) -> Any:
    return work()


@pytest.mark.parametrize("commits", ["committed", "rolled back"])
async def test_it_refuses(running: RunningService, commits: str) -> None:
    for use in USES:
        await _refuses(running, use, commits)
    assert await orders(running) == 0
    assert await messages(running) == len(USES)


async def _refuses(running: RunningService, use: str, commits: str) -> None:
    kept: list[Kept] = []
    with contextlib.suppress(LookupError):
        async with running.transaction() as tx:
            kept.append(await keep(tx))
            if commits == "rolled back":
                raise LookupError
    async with running.transaction() as other:
        await connection(other).execute(text("SELECT 1"))
        with pytest.raises(TransactionEnded, match=commits):
            await USES[use](kept[0])
            pytest.fail(use)
        other.publish(Happened("the other one goes on"))


async def test_what_is_closed_late_is_closed(running: RunningService) -> None:
    """As an `async with` does that ends after the transaction; a rollback of what was rolled back is no mistake."""
    kept: list[Kept] = []
    with contextlib.suppress(LookupError):
        async with running.transaction() as tx:
            kept.append(await keep(tx))
            raise LookupError
    await kept[0].plain.rollback()
    await kept[0].session.rollback()
    async with running.transaction() as tx:
        kept.append(await keep(tx))
    for each in kept:
        await each.stream.close()
        await each.plain.close()
        await each.session.close()
        await each.connection.close()
        assert each.connection.closed
        assert not each.connection.in_transaction()
    assert await orders(running) == 0


async def test_a_generator_that_is_closed_late_is_told(running: RunningService) -> None:
    """It flushes when nobody looks any more."""

    async def writes(tx: Transaction) -> AsyncIterator[AsyncSession]:
        opened = AsyncSession(connection(tx))
        yield opened
        opened.add(Order(order_id="late"))
        await opened.flush()

    async with running.transaction() as tx:
        generator = writes(tx)
        await anext(generator)
    with pytest.raises(TransactionEnded):
        await anext(generator)
    assert await orders(running) == 0


async def test_a_task_that_goes_on_after_the_block_is_told(running: RunningService) -> None:
    """What it did before is committed, or the block raises; nothing lands elsewhere."""
    told: list[FreeholdError] = []
    done = 0
    under_way = asyncio.Event()

    async def writing(tx: Transaction) -> None:
        nonlocal done
        try:
            for number in range(10_000):
                await tx.sql.execute("INSERT INTO own_order (order_id, pieces) VALUES ($1, 1)", (f"{number}",))
                done += 1
                under_way.set()
                await asyncio.sleep(0)
        except (TransactionEnded, TransactionMisused) as error:
            told.append(error)

    async with running.transaction() as tx:
        task = asyncio.create_task(writing(tx))
        await under_way.wait()
    async with running.transaction() as other:
        await other.sql.fetch("SELECT 1")
        await task
    assert len(told) == 1
    assert await orders(running) == done


async def test_a_failed_commit_is_an_end(running: RunningService) -> None:
    async with running.transaction() as tx:
        tx.append("thing-1", Happened("first"))
    with pytest.raises(FreeholdError) as failed:
        async with running.transaction() as late:
            late.append("thing-1", Happened("second"), expected=0)
    assert not isinstance(failed.value, TransactionEnded)
    with pytest.raises(TransactionEnded, match="rolled back"):
        late.publish(Happened("late"))


async def test_a_transaction_is_of_one_event_loop(running: RunningService) -> None:
    """A statement from another loop is refused, and the transaction is rolled back."""

    def elsewhere(tx: Transaction) -> None:
        asyncio.run(_run(tx))

    async def _run(tx: Transaction) -> None:
        await tx.sql.execute(INSERT.text)

    with pytest.raises(TransactionMisused, match="rolled back"):
        async with running.transaction() as tx:
            with pytest.raises(TransactionMisused, match="another thread or event loop"):
                await asyncio.to_thread(elsewhere, tx)
    assert await orders(running) == 0


async def test_statements_of_several_tasks_take_turns(running: RunningService) -> None:
    """Through every handle at once."""

    async def work(tx: Transaction, number: int) -> None:
        insert = "INSERT INTO own_order (order_id, pieces) VALUES"
        await connection(tx).execute(text(f"{insert} (:id, 1)"), {"id": f"c{number}"})
        await tx.sql.execute(f"{insert} ($1, 1)", (f"s{number}",))
        async with AsyncSession(connection(tx)) as own:
            own.add(Order(order_id=f"o{number}"))
            await own.flush()
        tx.publish(Happened(f"{number}"))

    async with running.transaction() as tx:
        await asyncio.gather(*(work(tx, number) for number in range(20)))
    assert await orders(running) == 60
    assert await messages(running) == 20


async def test_a_task_that_waits_for_its_turn_can_be_cancelled(running: RunningService) -> None:
    async with running.transaction() as tx:
        reads = [asyncio.create_task(tx.sql.fetch("SELECT 1")) for _ in range(10)]
        await asyncio.sleep(0)
        for read in reads[1::2]:
            read.cancel()
        answers = await asyncio.gather(*reads, return_exceptions=True)
        assert not [each for each in answers[::2] if isinstance(each, BaseException)]
        tx.publish(Happened("a"))
    assert await messages(running) == 1


async def test_a_direct_connection_refuses_after_its_block(running: RunningService) -> None:
    """It belongs to somebody else by then."""
    async with running.stores[SQL].direct() as sql:
        await sql.fetch("SELECT 1")
    with pytest.raises(TransactionEnded, match="direct connection"):
        await sql.execute(INSERT.text)
    assert await orders(running) == 0
