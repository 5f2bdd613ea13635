"""Somebody ends the transaction inside its block: it is refused, nothing is executed, and all of it is rolled back."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import DDL, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from tests.integration.transaction.trial import Happened, Order, messages, orders

from freehold import RunningService, Transaction
from freehold.errors import DatabaseError, TransactionMisused
from freehold.sqlalchemy import connection, run_sync, session

_ddl: Any = DDL
_COMMIT = _ddl("COMMIT")


async def _begun(opened: AsyncSession | AsyncConnection) -> None:
    async with opened.begin():
        await opened.execute(text("INSERT INTO own_order (order_id, pieces) VALUES ('inside', 1)"))


async def _driver(tx: Transaction) -> Any:
    return (await connection(tx).get_raw_connection()).driver_connection


ENDS: dict[str, Callable[[Transaction, AsyncSession], Awaitable[Any]]] = {
    "commit of the session": lambda tx, _: session(tx).commit(),
    "rollback of the session": lambda tx, _: session(tx).rollback(),
    "begin of the session": lambda tx, _: _begun(session(tx)),
    "invalidate of the session": lambda tx, _: session(tx).invalidate(),
    "commit of a plain session": lambda _, plain: plain.commit(),
    "rollback of a plain session": lambda _, plain: plain.rollback(),
    "begin of a plain session": lambda tx, _: _begun(AsyncSession(connection(tx))),
    "commit of a synchronous session": lambda tx, _: run_sync(tx, lambda opened: opened.commit()),
    "commit of the connection": lambda tx, _: connection(tx).commit(),
    "rollback of the connection": lambda tx, _: connection(tx).rollback(),
    "begin of the connection": lambda tx, _: _begun(connection(tx)),
    "close of the connection": lambda tx, _: connection(tx).close(),
    "invalidate of the connection": lambda tx, _: connection(tx).invalidate(),
    "isolation level": lambda tx, _: connection(tx).execution_options(isolation_level="SERIALIZABLE"),
    "commit of a synchronous connection": lambda tx, _: connection(tx).run_sync(lambda sync: sync.commit()),
    "begin of a synchronous connection": lambda tx, _: connection(tx).run_sync(lambda sync: sync.begin().commit()),
    "two phases": lambda tx, _: connection(tx).run_sync(lambda sync: sync.begin_twophase()),
    "DDL": lambda tx, _: connection(tx).execute(_COMMIT),
    "text with columns": lambda tx, _: connection(tx).execute(text("COMMIT").columns()),
    "text of a session": lambda _, plain: plain.execute(text("ROLLBACK")),
    "commit of the driver": lambda tx, _: _driver_commits(tx),
    "text of the driver": lambda tx, _: _driver_executes(tx, "commit"),
    "closing the driver": lambda tx, _: _driver_closes(tx),
}
TEXTS = [
    "COMMIT",
    "commit;",
    "  \n\tRollBack",
    "-- a comment\nCOMMIT",
    "/* one /* two */ */ BEGIN",
    "BEGIN IMMEDIATE",
    "END",
    "ABORT",
    "START TRANSACTION",
    "COMMIT AND CHAIN",
    "PREPARE TRANSACTION 'a'",
    "COMMIT PREPARED 'a'",
    "ROLLBACK PREPARED 'a'",
    "SELECT 1; COMMIT",
    "SELECT ';'; SAVEPOINT a; ROLLBACK",
]


async def _driver_commits(tx: Transaction) -> None:
    driver = await _driver(tx)
    await (driver.commit() if hasattr(driver, "executescript") else driver.execute("COMMIT"))


async def _driver_executes(tx: Transaction, statement: str) -> None:
    await (await _driver(tx)).execute(statement)


async def _driver_closes(tx: Transaction) -> None:
    await (await _driver(tx)).close()


async def _refused(
    running: RunningService, work: Callable[[Transaction, AsyncSession], Awaitable[Any]], name: str
) -> None:
    with pytest.raises(TransactionMisused, match="the transaction was rolled back"):
        async with running.transaction() as tx:
            plain = AsyncSession(connection(tx))
            plain.add(Order(order_id="before"))
            await plain.flush()
            tx.publish(Happened("before"))
            with pytest.raises(TransactionMisused):
                await work(tx, plain)
            await tx.sql.execute("INSERT INTO own_order (order_id, pieces) VALUES ('after', 1)")
            tx.publish(Happened("after"))
    assert await orders(running) == 0, name
    assert await messages(running) == 0, name


async def test_another_end_is_refused(running: RunningService) -> None:
    for end, work in ENDS.items():
        await _refused(running, work, end)


async def test_an_end_in_words_is_refused(running: RunningService) -> None:
    for each in TEXTS:
        await _words_are_refused(running, each)


async def _words_are_refused(running: RunningService, words: str) -> None:
    await _refused(running, lambda tx, _: connection(tx).execute(text(words)), words)
    await _refused(running, lambda tx, _: connection(tx).exec_driver_sql(words), words)
    await _refused(running, lambda tx, _: tx.sql.execute(words), words)
    await _refused(running, lambda tx, _: tx.sql.fetch(words), words)
    await _refused(running, lambda tx, _: tx.sql.execute_many(words, [()]), words)


@pytest.mark.parametrize("between", [["COMMIT"], ["COMMIT", "BEGIN"], ["ROLLBACK", "BEGIN"]])
async def test_what_the_drivers_own_object_ended_is_found_at_the_commit(
    running: RunningService, between: list[str]
) -> None:
    """Past everything that refuses: the error says that a part may be committed."""
    with pytest.raises(TransactionMisused, match="part of it may be committed"):
        async with running.transaction() as tx:
            raw: Any = await connection(tx).get_raw_connection()
            driver = raw.dbapi_connection.driver_connection
            tx.publish(Happened("before"))
            for statement in between:
                await driver.execute(statement)
    assert await messages(running) == 0
    async with running.transaction() as tx:
        tx.publish(Happened("the next one"))
    assert await messages(running) == 1


async def test_a_block_that_only_uses_the_driver_commits(running: RunningService) -> None:
    async with running.transaction() as tx:
        await _driver_executes(tx, "INSERT INTO own_order (order_id, pieces) VALUES ('a', 1)")
        raw = await connection(tx).get_raw_connection()
        await connection(tx).run_sync(lambda sync: sync.connection.driver_connection)
        assert raw.is_valid
    assert await orders(running) == 1


async def test_a_flush_that_failed_takes_the_transaction_along(running: RunningService) -> None:
    """The session says that it has rolled back. Its own error is what comes out, and the end refuses."""
    async with running.transaction() as tx:
        session(tx).add(Order(order_id="there"))
    with pytest.raises(DatabaseError):
        async with running.transaction() as tx:
            session(tx).add(Order(order_id="there"))
    with pytest.raises(TransactionMisused, match="session rolled back after IntegrityError"):
        async with running.transaction() as tx:
            tx.publish(Happened("before"))
            session(tx).add(Order(order_id="there"))
            with contextlib.suppress(IntegrityError):
                await session(tx).flush()
    assert await orders(running) == 1
    assert await messages(running) == 0


async def test_a_flush_that_failed_inside_a_savepoint_leaves_the_rest(running: RunningService) -> None:
    async with running.transaction() as tx:
        session(tx).add(Order(order_id="there"))
    async with running.transaction() as tx:
        tx.publish(Happened("before"))
        with contextlib.suppress(IntegrityError):
            async with session(tx).begin_nested():
                tx.publish(Happened("inside"))
                session(tx).add(Order(order_id="there"))
        session(tx).add(Order(order_id="another"))
    assert await orders(running) == 2
    assert await messages(running) == 1


async def test_a_session_may_be_closed_inside(running: RunningService) -> None:
    """That is no end of the transaction, as with any that a session joins; what it has flushed stays."""
    async with running.transaction() as tx:
        async with AsyncSession(connection(tx)) as plain:
            plain.add(Order(order_id="plain"))
            await plain.flush()
        async with session(tx) as own:
            own.add(Order(order_id="own"))
        await session(tx).close()
        session(tx).add(Order(order_id="again"))
        await session(tx).close()
    assert await orders(running) == 3


async def test_words_in_strings_and_bodies_are_no_ends(running: RunningService) -> None:
    async with running.transaction() as tx:
        await tx.sql.fetch("SELECT 'COMMIT; ROLLBACK'")
        await connection(tx).execute(text('SELECT 1 AS "COMMIT" -- ; ROLLBACK'))
        await connection(tx).exec_driver_sql("SELECT 'it''s; END'")
        if connection(tx).dialect.name == "sqlite":
            await tx.sql.execute(
                "CREATE TRIGGER trial AFTER INSERT ON own_order BEGIN "
                "UPDATE own_order SET pieces = CASE WHEN 1 THEN 7 END; SELECT 1; END"
            )
        else:
            await connection(tx).exec_driver_sql("DO $$ BEGIN PERFORM 1; END $$")
        session(tx).add(Order(order_id="a"))
    assert await orders(running) == 1


async def test_nothing_comes_after_an_end_by_the_engine(running: RunningService) -> None:
    """SQLite rolls back at some errors. What came then would commit by itself; PostgreSQL refuses it too."""
    async with running.transaction() as tx:
        if connection(tx).dialect.name == "sqlite":
            await tx.sql.execute(
                "CREATE TRIGGER trial BEFORE INSERT ON own_order WHEN NEW.pieces < 0 "
                "BEGIN SELECT RAISE(ROLLBACK, 'negative'); END"
            )
        else:
            await tx.sql.execute("ALTER TABLE own_order ADD CHECK (pieces >= 0)")
    bad, good = (f"INSERT INTO own_order (order_id, pieces) VALUES ('{n}', {n})" for n in (-1, 1))
    for through_sql in (True, False):
        with pytest.raises(DatabaseError):
            async with running.transaction() as tx:
                tx.publish(Happened("before"))
                for statement in (bad, good):
                    with pytest.raises(Exception):  # noqa: B017, PT011 - the driver's, SQLAlchemy's, or ours
                        await (tx.sql.execute(statement) if through_sql else connection(tx).exec_driver_sql(statement))
    assert await orders(running) == 0
    assert await messages(running) == 0
