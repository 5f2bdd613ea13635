"""BEGIN goes to PostgreSQL with the first statement of a transaction, and calls of functions with its COMMIT: what
fails there, and what is left after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from freehold.adapters.sql.engine.commit_text import FunctionCall, closing_of
from freehold.conformance.outbox import outgoing
from freehold.database import DatabaseOptions
from freehold.errors import DatabaseError, FreeholdError, Unavailable
from freehold.migrations import Migration
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL, SqlTransaction

pytestmark = pytest.mark.servers

_OPTIONS = DatabaseOptions(pool_size=1, statement_timeout_seconds=5.0, connect_timeout_seconds=20.0)
_WORK = Migration("001-work", {"": ["CREATE TABLE work (n integer PRIMARY KEY)"]})
_ROW = "INSERT INTO work (n) VALUES ($1)"


@pytest.fixture(params=["", "?statement_cache_size=0"], ids=["together", "apart"])
async def stores(postgres_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """One connection. Without prepared statements BEGIN is a round trip of its own, and the rest must be the same."""
    stores = open_stores(postgres_url + request.param, _OPTIONS, [_WORK])
    await stores.database.open()
    await stores.database.upgrade()
    yield stores
    await stores.database.close()


def _begin(stores: Stores) -> AbstractAsyncContextManager[SqlTransaction]:
    database: Any = stores.database
    begun: AbstractAsyncContextManager[SqlTransaction] = database.begin()
    return begun


async def _rows(stores: Stores) -> list[int]:
    async with stores[SQL].direct() as sql:
        return [row[0] for row in await sql.fetch("SELECT n FROM work ORDER BY n")]


async def _works(stores: Stores, number: int = 1000) -> None:
    """A transaction works as on a new connection."""
    async with _begin(stores) as db_tx:
        await db_tx.sql.execute(_ROW, (number,))
        await db_tx.sql.execute("DELETE FROM work WHERE n = $1", (number,))


@pytest.mark.parametrize(
    ("sql", "values"),
    [("SELECT nothing FROM work", ()), ("SELECT 1 / $1::integer", (0,)), ("SELECT $1::integer", ("not a number",))],
    ids=["when prepared", "when executed", "before it is sent"],
)
async def test_the_first_statement_fails(stores: Stores, sql: str, values: tuple[object, ...]) -> None:
    for _ in range(3):  # the second time it is prepared
        with pytest.raises(FreeholdError):
            async with _begin(stores) as db_tx:
                await db_tx.sql.fetch(sql, values)
        await _works(stores)


async def test_a_text_that_fails_as_first_statement(stores: Stores) -> None:
    with pytest.raises(DatabaseError):
        async with _begin(stores) as db_tx:
            await db_tx.sql.execute("SELECT 1 / 0")
    await _works(stores)


@pytest.mark.parametrize("through_sqlalchemy", [False, True])
async def test_a_text_that_cannot_be_read_as_first_statement(stores: Stores, through_sqlalchemy: bool) -> None:
    """The server refuses the whole text, BEGIN with it: what follows must not be committed by itself."""
    await _works(stores)
    for wrong in ("SELEC 1", "SELECT 'open", "INSERT INTO work (n) VALUES (1); SELEC"):
        with pytest.raises(FreeholdError):
            async with _begin(stores) as db_tx:
                with contextlib.suppress(DatabaseError):
                    await db_tx.sql.execute(wrong)
                if through_sqlalchemy:
                    await db_tx.native.execute(sa.text("INSERT INTO work (n) VALUES (1)"))
                else:
                    await db_tx.sql.execute(_ROW, (1,))
        assert await _rows(stores) == []
        await _works(stores)


async def test_a_failed_first_statement_that_is_caught_fails_the_commit(stores: Stores) -> None:
    with pytest.raises(DatabaseError, match="a statement of the transaction had failed"):
        async with _begin(stores) as db_tx:
            with contextlib.suppress(DatabaseError):
                await db_tx.sql.fetch("SELECT 1 / $1::integer", (0,))
    await _works(stores)


async def test_values_that_are_never_sent_leave_the_transaction_open(stores: Stores) -> None:
    """BEGIN has been sent, and the driver refuses the values: what follows is in the transaction, and atomic."""
    async with _begin(stores) as db_tx:
        with contextlib.suppress(FreeholdError):
            await db_tx.sql.execute(_ROW, ("not a number",))
        await db_tx.sql.execute(_ROW, (1,))
    with pytest.raises(ZeroDivisionError):
        async with _begin(stores) as db_tx:
            with contextlib.suppress(FreeholdError):
                await db_tx.sql.execute(_ROW, ("not a number",))
            await db_tx.sql.execute(_ROW, (2,))
            raise ZeroDivisionError
    async with _begin(stores) as db_tx:
        with contextlib.suppress(FreeholdError):
            await db_tx.sql.execute(_ROW, ("not a number",))
        await stores[OUTBOX].stage_last(db_tx, [outgoing("k")])
    assert await _rows(stores) == [1]
    assert (await stores[OUTBOX].stats()).pending == 1


async def test_without_a_statement(stores: Stores) -> None:
    async with _begin(stores):
        pass
    with pytest.raises(ZeroDivisionError):
        async with _begin(stores):
            raise ZeroDivisionError
    async with _begin(stores) as db_tx:
        await stores[OUTBOX].stage_last(db_tx, [outgoing("k")])
    assert (await stores[OUTBOX].stats()).pending == 1


@pytest.mark.parametrize(
    ("sql", "setting", "value"),
    [
        ("SET TRANSACTION READ ONLY", "transaction_read_only", "on"),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "transaction_isolation", "serializable"),
    ],
)
async def test_a_first_statement_that_sets_the_transaction(stores: Stores, sql: str, setting: str, value: str) -> None:
    """It must come before any query, and ends with the transaction."""
    async with _begin(stores) as db_tx:
        await db_tx.sql.execute(sql)
        assert (await db_tx.sql.fetch("SELECT current_setting($1)", (setting,)))[0][0] == value
    async with _begin(stores) as db_tx:
        assert (await db_tx.sql.fetch("SELECT current_setting($1)", (setting,)))[0][0] != value


async def test_many_rows_as_first_statement(stores: Stores) -> None:
    async with _begin(stores) as db_tx:
        await db_tx.sql.execute_many(_ROW, [(1,), (2,)])
    with pytest.raises(FreeholdError):
        async with _begin(stores) as db_tx:
            await db_tx.sql.execute_many(_ROW, [(3,), (1,)])
    assert await _rows(stores) == [1, 2]


async def test_the_first_statement_comes_through_sqlalchemy(stores: Stores) -> None:
    """A statement, a savepoint of a session, and the driver's own connection."""
    async with _begin(stores) as db_tx:
        await db_tx.native.execute(sa.text("INSERT INTO work (n) VALUES (1)"))
    with pytest.raises(ZeroDivisionError):
        async with _begin(stores) as db_tx:
            await db_tx.native.execute(sa.text("INSERT INTO work (n) VALUES (2)"))
            raise ZeroDivisionError
    async with _begin(stores) as db_tx, AsyncSession(bind=db_tx.native) as session:
        async with session.begin_nested() as savepoint:
            await session.execute(sa.text("INSERT INTO work (n) VALUES (3)"))
            await savepoint.rollback()
        await session.execute(sa.text("INSERT INTO work (n) VALUES (4)"))
    with pytest.raises(ZeroDivisionError):
        async with _begin(stores) as db_tx:
            raw = await db_tx.native.get_raw_connection()
            await raw.driver_connection.execute("INSERT INTO work (n) VALUES (5)")
            raise ZeroDivisionError
    assert await _rows(stores) == [1, 4]


async def test_the_first_statement_is_streamed(stores: Stores) -> None:
    """The driver opens a cursor on the server only in a transaction that it knows of, also for a known statement."""
    async with _begin(stores) as db_tx:
        await db_tx.sql.execute_many(_ROW, [(1,), (2,)])
    for _ in range(3):
        async with _begin(stores) as db_tx:
            result = await db_tx.native.stream(sa.text("SELECT n FROM work ORDER BY n"))
            assert [row.n async for row in result] == [1, 2]
        async with _begin(stores) as db_tx, AsyncSession(bind=db_tx.native) as session:
            assert [n async for n in await session.stream_scalars(sa.text("SELECT n FROM work ORDER BY n"))] == [1, 2]


async def test_the_session_ends_during_the_first_statement(stores: Stores, postgres_url: str) -> None:
    await _works(stores)
    other = open_stores(postgres_url, _OPTIONS, [_WORK])
    await other.database.open()
    async with _begin(other) as holder:
        await holder.sql.execute(_ROW, (1,))
        work = asyncio.create_task(_works(stores, 1))
        ended = False
        async with asyncio.timeout(60):
            while not ended:
                ended = bool(
                    await holder.sql.fetch(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND wait_event_type = 'Lock'"
                    )
                )
        with pytest.raises(Unavailable):
            await work
    await _works(stores)
    await other.database.close()
    assert await _rows(stores) == [1]


async def test_a_statement_whose_result_has_changed(stores: Stores, postgres_url: str) -> None:
    """`cached plan must not change result type`: the transaction fails, and the next one prepares anew."""
    read = "SELECT * FROM work WHERE n > $1"
    async with _begin(stores) as db_tx:
        await db_tx.sql.fetch(read, (0,))
    other = open_stores(postgres_url, _OPTIONS, [_WORK])
    await other.database.open()
    async with other[SQL].direct() as sql:
        await sql.execute("ALTER TABLE work ADD COLUMN more text")
    await other.database.close()
    with contextlib.suppress(FreeholdError):
        async with _begin(stores) as db_tx:
            await db_tx.sql.fetch(read, (0,))
    async with _begin(stores) as db_tx:
        await db_tx.sql.fetch(read, (0,))
    await _works(stores)


_FORGET = """\
DO $$ DECLARE n text; BEGIN
    FOR n IN SELECT name FROM pg_prepared_statements WHERE name LIKE 'freehold%' LOOP
        EXECUTE 'DEALLOCATE ' || n;
    END LOOP;
END $$"""
_DROP = "DROP FUNCTION told(integer)"
_OTHER = "CREATE FUNCTION told(n integer) RETURNS text LANGUAGE sql AS 'SELECT ''t''::text'"


@pytest.mark.parametrize("lost", [(_FORGET,), (_DROP, _OTHER), (_DROP,)], ids=["statements", "result", "function"])
async def test_a_call_that_was_prepared_is_lost(stores: Stores, lost: tuple[str, ...]) -> None:
    """The transaction is rolled back as a whole, and a later one prepares the call anew."""
    make = "CREATE OR REPLACE FUNCTION told(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n'"
    told: list[str] = []

    async def work(number: int) -> None:
        async with _begin(stores) as db_tx:
            await db_tx.sql.execute(_ROW, (number,))
            closing = closing_of(db_tx)
            assert closing is not None
            closing.add(FunctionCall("told", (7,), ("integer",)), told.append)

    async with stores[SQL].direct() as sql:
        await sql.execute(make)
    await work(1)
    async with stores[SQL].direct() as sql:
        for statement in lost:
            await sql.execute(statement)
    with contextlib.suppress(FreeholdError):
        await work(2)
    rows = await _rows(stores)
    assert rows in ([1], [1, 2])
    if lost == (_DROP,):
        assert rows == [1]
        async with stores[SQL].direct() as sql:
            await sql.execute(make)
    await work(3)
    assert await _rows(stores) == [*rows, 3]
    assert set(told) <= {"7", "t"}


async def test_the_last_of_several_calls_fails(stores: Stores) -> None:
    """Also where BEGIN, the calls and the COMMIT are one round trip."""
    for first in (True, False, False):
        with pytest.raises(DatabaseError):
            async with _begin(stores) as db_tx:
                if first:
                    await db_tx.sql.execute(_ROW, (1,))
                closing = closing_of(db_tx)
                assert closing is not None
                closing.add(FunctionCall("abs", (1,), ("integer",)))
                closing.add(FunctionCall("pg_catalog.lower", ("A",), ("text",)))
                closing.add(FunctionCall("ln", ("0",), ("text::numeric",)))
        await _works(stores)
    assert await _rows(stores) == []


async def test_the_server_reads_the_values_of_a_call(stores: Stores) -> None:
    """As it reads them from a statement with parameters."""
    moment = datetime(2026, 12, 1, 6, 30, 0, 123456, tzinfo=UTC)
    given: list[tuple[object, str]] = [
        (-(2**63), "bigint"),
        (-1, "integer"),
        (UUID(int=2**127 + 1), "uuid"),
        ("it's é\U0001f600 \\", "text"),
        (b"\x00\xff'", "bytea"),
        (moment, "timestamptz"),
        (datetime(1969, 1, 1, tzinfo=UTC) - timedelta(microseconds=1), "timestamptz"),
        ('{"a": [1, null]}', "jsonb"),
        ([1, None, -(2**62)], "bigint[]"),
        ([], "integer[]"),
        ([UUID(int=1)], "uuid[]"),
        (["", None, "NULL", '"{,}'], "text[]"),
        ([b"", b"\x00"], "bytea[]"),
        (["1.5", None, "-Infinity"], "text[]::float8[]"),
        (None, "text"),
    ]
    for value, kind in given:
        told: list[str] = []
        async with _begin(stores) as db_tx:
            closing = closing_of(db_tx)
            assert closing is not None
            closing.add(FunctionCall("format", ("%s", value), ("text", kind)), told.append)
            ((read,),) = await db_tx.sql.fetch(f"SELECT format('%s', $1::{kind})", (value,))
        assert told == [read], kind
