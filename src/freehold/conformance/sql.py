"""The suite of the port for SQL statements. Bind it with a `harness` fixture, see `freehold.conformance.harness`."""

from __future__ import annotations

import pytest

from freehold.conformance.harness import StoresHarness
from freehold.errors import DatabaseError, TransactionEnded
from freehold.ports import Stores
from freehold.sql import SQL, SqlConnection, sql_of

__all__ = ["SqlConformance"]

_MAKE = "CREATE TABLE suite_thing (name VARCHAR(40) NOT NULL PRIMARY KEY, size BIGINT)"
_ADD = "INSERT INTO suite_thing (size, name) VALUES ($2, $1)"
_READ = "SELECT name, size FROM suite_thing ORDER BY name"


class _TakeBack(Exception):
    """Rolls a block back."""


async def _read(sql: SqlConnection) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await sql.fetch(_READ)]


async def _there(stores: Stores) -> list[tuple[object, ...]]:
    async with stores[SQL].direct() as sql:
        return await _read(sql)


class SqlConformance:
    """What every engine with SQL must do."""

    async def test_a_direct_statement_commits_by_itself(self, harness: StoresHarness) -> None:
        """Others see its effect while the block is still open, and a later error does not undo it."""
        other = await harness.instance()
        with pytest.raises(_TakeBack):
            async with harness.first[SQL].direct() as sql:
                await sql.execute(_MAKE)
                assert await sql.execute(_ADD, ("a", 1)) == 1
                assert await _there(other) == [("a", 1)]
                raise _TakeBack
        assert await _there(other) == [("a", 1)]

    async def test_a_database_transaction_is_one_of_the_engine(self, harness: StoresHarness) -> None:
        """Its statements see each other, others do not see them; they are committed or rolled back together."""
        stores, other = harness.first, await harness.instance()
        async with stores[SQL].direct() as sql:
            await sql.execute(_MAKE)
        with pytest.raises(_TakeBack):
            async with stores.database.begin() as db_tx:
                await sql_of(db_tx).execute(_ADD, ("a", 1))
                assert await _read(sql_of(db_tx)) == [("a", 1)]
                assert await _there(other) == []
                raise _TakeBack
        assert await _there(other) == []
        async with stores.database.begin() as db_tx:
            await sql_of(db_tx).execute(_ADD, ("b", 2))
        assert await _there(other) == [("b", 2)]

    async def test_statements_tell_how_many_rows_they_touched(self, harness: StoresHarness) -> None:
        """The rows that match the condition; a placeholder may be used twice, and a value may be None."""
        async with harness.first[SQL].direct() as sql:
            await sql.execute(_MAKE)
            await sql.execute_many(_ADD, [("c", 3), ("a", None), ("b", 3)])
            assert await _read(sql) == [("a", None), ("b", 3), ("c", 3)]
            assert await sql.execute("UPDATE suite_thing SET size = $1 WHERE size = $2", (4, 3)) == 2
            assert await sql.execute("DELETE FROM suite_thing WHERE size = $1 OR (size < $1 AND size > 0)", (4,)) == 2
            assert await sql.execute("DELETE FROM suite_thing WHERE size = $1", (4,)) == 0
            assert await _read(sql) == [("a", None)]

    async def test_many_rows_are_written_or_none(self, harness: StoresHarness) -> None:
        """In a database transaction a refused row also undoes the rows before it."""
        async with harness.first[SQL].direct() as sql:
            await sql.execute(_MAKE)
        with pytest.raises(DatabaseError):
            async with harness.first.database.begin() as db_tx:
                await sql_of(db_tx).execute_many(_ADD, [("a", 1), ("b", 2), ("a", 3)])
        assert await _there(harness.first) == []

    async def test_an_error_is_told_without_values(self, harness: StoresHarness) -> None:
        """As the error that `translate_error` returns; the connection can be used again."""
        async with harness.first[SQL].direct() as sql:
            await sql.execute(_MAKE)
            await sql.execute(_ADD, ("a-secret", 1))
        for statement, parameters in ((_ADD, ("a-secret", 2)), ("SELECT nothing FROM nowhere", ())):
            with pytest.raises(DatabaseError) as caught:
                async with harness.first[SQL].direct() as sql:
                    await sql.fetch(statement, parameters)
            assert "a-secret" not in str(caught.value)
        assert await _there(harness.first) == [("a-secret", 1)]

    async def test_nothing_is_run_after_the_end(self, harness: StoresHarness) -> None:
        """After the end of a block or database transaction, a kept connection reaches no other transaction."""
        async with harness.first[SQL].direct() as direct:
            await direct.execute(_MAKE)
        async with harness.first.database.begin() as db_tx:
            within = sql_of(db_tx)
        for kept in (direct, within):
            with pytest.raises(TransactionEnded):
                await kept.execute(_ADD, ("late", 1))
        assert await _there(harness.first) == []
