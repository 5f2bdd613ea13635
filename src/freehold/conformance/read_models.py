"""The suite of the tables of read models. Bind it with a `harness` fixture, see `freehold.conformance.harness`. Tables
are declared by SQLAlchemy, as users do, and written and read by SQL.
"""

from __future__ import annotations

from datetime import date
from typing import Final
from uuid import UUID

import pytest
import sqlalchemy as sa

from freehold.conformance.harness import StoresHarness
from freehold.errors import ConfigurationError, DatabaseError, DeclarationError
from freehold.ports import Stores
from freehold.projection.read_model_store import READ_MODELS, DeclaredTable, TableSet
from freehold.sql import SQL, sql_of

__all__ = ["ReadModelStoreConformance"]

_LONG: Final = "suite_read_model_whose_name_is_as_long_as_the_engines_permit_it_"
_FIRST, _SECOND, _REPLAY = TableSet("g", 1), TableSet("g", 2), TableSet("r", 1)


class _TakeBack(Exception):
    """Rolls a block back."""


def _orders(name: str = "suite_order", *more: sa.Column[object]) -> sa.Table:
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("customer", sa.String(40), nullable=False, index=True),
        sa.Column("total", sa.BigInteger, nullable=False),
        *more,
        sa.CheckConstraint("total >= 0", name=f"{name[:30]}_total"),
    )
    sa.Index(f"{name[:30]}_by_total", table.c.total)
    return table


async def _made(stores: Stores, table_set: TableSet, *tables: DeclaredTable, shown: bool = True) -> None:
    async with stores.database.begin() as db_tx:
        await stores[READ_MODELS].create(db_tx, tables, table_set)
        if shown:
            await stores[READ_MODELS].show(db_tx, tables, table_set)


async def _put(stores: Stores, table_set: TableSet, table: DeclaredTable, *rows: tuple[str, str, int]) -> None:
    name = stores[READ_MODELS].sql_name(table, table_set)
    async with stores.database.begin() as db_tx:
        statement = f"INSERT INTO {name} (id, customer, total) VALUES ($1, $2, $3)"  # noqa: S608 - a name of the store's
        await sql_of(db_tx).execute_many(statement, rows)


async def _ids(stores: Stores, name: str = "suite_order") -> list[object]:
    async with stores[SQL].direct() as sql:
        return [row[0] for row in await sql.fetch(f"SELECT id FROM {name} ORDER BY id")]  # noqa: S608 - the suite's own


async def _is_gone(stores: Stores, name: str) -> bool:
    return name not in await stores.database.relations([name])


class ReadModelStoreConformance:
    """What every store of read models must do."""

    async def test_places_stand_beside_each_other(self, harness: StoresHarness) -> None:
        """The plain name reads the one that is shown, for every instance; replays have tables of their own, too."""
        stores, other, table = harness.first, await harness.instance(), _orders()
        await _made(stores, _FIRST, table)
        await _made(stores, _SECOND, table, shown=False)
        await _made(stores, _REPLAY, table, shown=False)
        for table_set, key in ((_FIRST, "a"), (_SECOND, "b"), (_REPLAY, "c")):
            await _put(stores, table_set, table, (key, "x", 1))
        assert await _ids(other) == ["a"]
        async with stores.database.begin() as db_tx:
            await stores[READ_MODELS].show(db_tx, [table], _SECOND)
        assert await _ids(other) == ["b"]
        names = [
            str(stores[READ_MODELS].physical(table, table_set).fullname) for table_set in (_FIRST, _SECOND, _REPLAY)
        ]
        assert names == ["suite_order__g1", "suite_order__g2", "suite_order__r1"]

    async def test_a_rollback_takes_all_of_it_back(self, harness: StoresHarness) -> None:
        """Tables that were created, dropped, shown and hidden; and the same can be done again."""
        if not harness.features.transactional_ddl:
            pytest.skip("feature: transactional_ddl")
        stores, table = harness.first, _orders()
        await _made(stores, _FIRST, table)
        await _put(stores, _FIRST, table, ("a", "x", 1))
        for _ in range(2):
            with pytest.raises(_TakeBack):
                async with stores.database.begin() as db_tx:
                    await stores[READ_MODELS].create(db_tx, [table], _SECOND)
                    await stores[READ_MODELS].show(db_tx, [table], _SECOND)
                    await stores[READ_MODELS].drop(db_tx, ["suite_order"], _FIRST)
                    await stores[READ_MODELS].hide(db_tx, [table])
                    raise _TakeBack
            assert await _ids(stores) == ["a"]
            assert await _is_gone(stores, "suite_order__g2")

    async def test_each_step_may_be_repeated(self, harness: StoresHarness) -> None:
        """After an interruption it is done again; a step that is done already is no error."""
        stores, table = harness.first, _orders()
        await _made(stores, _FIRST, table)
        await _made(stores, _SECOND, table, shown=False)
        await _put(stores, _SECOND, table, ("b", "x", 1))
        for _ in range(2):
            async with stores.database.begin() as db_tx:
                await stores[READ_MODELS].show(db_tx, [table], _SECOND)
            assert await _ids(stores) == ["b"]
        for _ in range(2):
            async with stores.database.begin() as db_tx:
                await stores[READ_MODELS].drop(db_tx, ["suite_order"], _FIRST)
            assert await _ids(stores) == ["b"]
            assert await _is_gone(stores, "suite_order__g1")
        for _ in range(2):
            async with stores.database.begin() as db_tx:
                await stores[READ_MODELS].hide(db_tx, [table])
            assert await _is_gone(stores, "suite_order")

    async def test_a_table_that_nobody_knows_of_is_not_taken(self, harness: StoresHarness) -> None:
        """It may contain data of the service."""
        stores = harness.first
        async with stores[SQL].direct() as sql:
            await sql.execute("CREATE TABLE suite_order__g1 (id VARCHAR(40))")
            await sql.execute("INSERT INTO suite_order__g1 (id) VALUES ($1)", ("kept",))
        with pytest.raises(ConfigurationError, match="suite_order__g1"):
            await _made(stores, _FIRST, _orders())
        assert await _ids(stores, "suite_order__g1") == ["kept"]

    async def test_a_table_in_the_way_of_a_view_is_left_alone(self, harness: StoresHarness) -> None:
        """The error says what to do."""
        stores, table = harness.first, _orders()
        async with stores[SQL].direct() as sql:
            await sql.execute("CREATE TABLE suite_order (id VARCHAR(40))")
            await sql.execute("INSERT INTO suite_order (id) VALUES ($1)", ("kept",))
        with pytest.raises(ConfigurationError, match="'suite_order' is a table") as caught:
            await _made(stores, _FIRST, table)
        assert "rename it" in caught.value.hint
        with pytest.raises(ConfigurationError, match="'suite_order' is a table"):
            async with stores.database.begin() as db_tx:
                await stores[READ_MODELS].hide(db_tx, [table])
        assert await _ids(stores) == ["kept"]

    async def test_columns_may_come_and_go(self, harness: StoresHarness) -> None:
        """From one generation to the next one, and back."""
        stores, short = harness.first, sa.Table("suite_order", sa.MetaData(), sa.Column("id", sa.String(40)))
        wide = _orders("suite_order", sa.Column("item_count", sa.Integer, nullable=True))
        for number, table, columns in ((1, _orders(), "total"), (2, wide, "total, item_count"), (3, short, "id")):
            await _made(stores, TableSet("g", number), table)
            async with stores[SQL].direct() as sql:
                assert await sql.fetch(f"SELECT {columns} FROM suite_order") == []  # noqa: S608 - as above
        with pytest.raises(DatabaseError):
            async with stores[SQL].direct() as sql:
                await sql.fetch("SELECT total FROM suite_order")

    async def test_a_view_goes_with_the_table_that_it_reads(self, harness: StoresHarness) -> None:
        """By its recorded name, also where the table is no longer declared; a view of another generation stays."""
        stores = harness.first
        gone, taken = _orders("suite_gone"), _orders("suite_taken")
        await _made(stores, _FIRST, gone, taken)
        await _made(stores, _SECOND, taken)
        async with stores.database.begin() as db_tx:
            await stores[READ_MODELS].drop(db_tx, ["suite_gone", "suite_taken"], _FIRST)
        for name in ("suite_gone", "suite_gone__g1", "suite_taken__g1"):
            assert await _is_gone(stores, name)
        assert await _ids(stores, "suite_taken") == []

    async def test_tables_are_dropped_by_their_physical_names(self, harness: StoresHarness) -> None:
        """Those of a replay, which no view reads."""
        stores, table = harness.first, _orders()
        await _made(stores, _FIRST, table)
        await _made(stores, _REPLAY, table, shown=False)
        for _ in range(2):
            async with stores.database.begin() as db_tx:
                await stores[READ_MODELS].drop(db_tx, ["suite_order__r1"])
            assert await _is_gone(stores, "suite_order__r1")
        assert await _ids(stores) == []

    async def test_long_and_reserved_names(self, harness: StoresHarness) -> None:
        """A name that is too long is shortened, and two names with the same beginning stay different."""
        stores = harness.first
        first, second = _orders(f"{_LONG[:58]}first"[:63]), _orders(f"{_LONG[:58]}other"[:63])
        second.indexes.clear()
        second.constraints = {each for each in second.constraints if not isinstance(each, sa.CheckConstraint)}
        reserved = sa.Table("order", sa.MetaData(), sa.Column("id", sa.String(40)), sa.Column("index", sa.Integer))
        for number in (1, 12345):
            await _made(stores, TableSet("g", number), first, second, reserved)
        await _put(stores, TableSet("g", 12345), second, ("b", "x", 1))
        assert await _ids(stores, first.name) == []
        assert await _ids(stores, second.name) == ["b"]

    async def test_constraints_are_those_that_were_declared(self, harness: StoresHarness) -> None:
        """In every generation."""
        stores, table = harness.first, _orders()
        for table_set in (_FIRST, _SECOND):
            await _made(stores, table_set, table)
            await _put(stores, table_set, table, ("a", "x", 1))
            for refused in (("b", "x", -1), ("a", "y", 1)):
                with pytest.raises(DatabaseError):
                    await _put(stores, table_set, table, refused)

    async def test_rows_are_deleted_by_values_of_a_column(self, harness: StoresHarness) -> None:
        """With any number of values; rows of other generations stay."""
        stores, table = harness.first, _orders()
        rows = [(f"{number:04d}", f"c{number % 3}", number) for number in range(1500)]
        for table_set in (_FIRST, _SECOND):
            await _made(stores, table_set, table)
            await _put(stores, table_set, table, *rows)
        async with stores.database.begin() as db_tx:
            deleted = await stores[READ_MODELS].delete_rows(db_tx, table, _SECOND, "customer", ["c1", "none"])
            assert deleted == 500
            numbers = list(range(0, 1500, 3))
            assert await stores[READ_MODELS].delete_rows(db_tx, table, _SECOND, "total", [*numbers, 9999]) == 500
        assert await _ids(stores) == [row[0] for row in rows if row[1] == "c2"]
        assert len(await _ids(stores, "suite_order__g1")) == 1500

    async def test_a_key_is_read_from_a_text(self, harness: StoresHarness) -> None:
        """As a value of the column's type; a wrong text and an unsupported type raise different errors."""
        table = _orders(
            "suite_order",
            sa.Column("thing", sa.Uuid),
            sa.Column("day", sa.Date),
            sa.Column("picture", sa.LargeBinary),
        )
        store = harness.first[READ_MODELS]
        thing = UUID(int=7)
        for column, text, value in (
            ("id", "a-1", "a-1"),
            ("total", "12", 12),
            ("thing", str(thing), thing),
            ("day", "2026-03-01", date(2026, 3, 1)),
        ):
            assert store.key_value(table, column, text) == value
        for column in ("total", "thing", "day"):
            with pytest.raises(ValueError, match=r".*"):
                store.key_value(table, column, "none")
        with pytest.raises(DeclarationError, match="'picture'"):
            store.key_value(table, "picture", "none")
