"""The tables of a read model's generations, and the views on them, on both SQL engines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from freehold.adapters.sql.read_models import IDENTIFIER_BYTES_MAX, fitting
from freehold.errors import ConcurrencyConflict, ConfigurationError, DatabaseError, DeclarationError
from freehold.ports import Stores
from freehold.projection.read_model_store import READ_MODELS
from freehold.projection.tables import PlacedTables, declared
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

LONG = "a_read_model_whose_name_is_as_long_as_postgresql_permits_it_to_b"[:63]


def summary(name: str = "order_summary", *more: sa.Column[object]) -> sa.Table:
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("order_id", sa.Text, primary_key=True),
        sa.Column("customer", sa.Text, nullable=False, index=True),
        sa.Column("total", sa.BigInteger, nullable=False),
        *more,
        sa.CheckConstraint("total >= 0", name="total_is_not_negative"),
    )
    sa.Index("order_summary_by_total", table.c.total)
    return table


class Cases:
    @pytest.fixture
    async def stores(self, url: str) -> AsyncIterator[Stores]:
        stores = open_stores(url)
        await stores.database.open()
        yield stores
        await stores.database.close()

    async def test_generations_stand_beside_each_other_and_the_view_shows_one(self, stores: Stores) -> None:
        table = summary()
        tables = PlacedTables(stores, [table])
        for generation in (1, 2):
            async with stores.database.begin() as db_tx:
                await tables.create(db_tx, generation)
                clone = tables.physical(table, generation)
                await db_tx.native.execute(clone.insert().values(order_id="a", customer="c", total=generation))
                await tables.show(db_tx, generation)
            assert await read(stores, "SELECT total FROM order_summary") == [(generation,)]
            assert await mapped(stores, sa.select(table.c.total)) == [(generation,)]
        async with stores.database.begin() as db_tx:
            await tables.drop(db_tx, 1, tables.names)
            await tables.drop(db_tx, 1, tables.names)
        assert await read(stores, "SELECT total FROM order_summary") == [(2,)]

    async def test_a_rollback_takes_tables_and_views_back(self, stores: Stores) -> None:
        tables = PlacedTables(stores, [summary()])
        with contextlib.suppress(RuntimeError):
            async with stores.database.begin() as db_tx:
                await tables.create(db_tx, 1)
                await tables.show(db_tx, 1)
                raise RuntimeError
        async with stores.database.begin() as db_tx:
            await tables.create(db_tx, 1)
            await tables.show(db_tx, 1)

    async def test_constraints_and_indexes_are_copied(self, stores: Stores) -> None:
        table = summary()
        tables = PlacedTables(stores, [table])
        async with stores.database.begin() as db_tx:
            await tables.create(db_tx, 7)
        clone = tables.physical(table, 7)
        with pytest.raises(DatabaseError):
            async with stores.database.begin() as db_tx:
                await db_tx.native.execute(clone.insert().values(order_id="a", customer="c", total=-1))
        async with stores.database.begin() as db_tx:
            names = await db_tx.native.run_sync(
                lambda connection: {each["name"] for each in sa.inspect(connection).get_indexes(clone.name)}
            )
        assert names == {"order_summary_by_total__g7", "ix_order_summary__g7_customer"}

    async def test_a_table_of_that_name_is_an_error_that_says_what_to_do(self, stores: Stores) -> None:
        table = summary()
        tables = PlacedTables(stores, [table])
        async with stores.database.begin() as db_tx:
            await db_tx.native.run_sync(table.create)
        with pytest.raises(ConfigurationError, match=r"'order_summary' is a table in the database.*rename it"):
            async with stores.database.begin() as db_tx:
                await tables.create(db_tx, 1)
                await tables.show(db_tx, 1)
        assert await read(stores, "SELECT count(*) FROM order_summary") == [(0,)]

    async def test_left_over_tables_are_not_taken_for_new_ones(self, stores: Stores) -> None:
        tables = PlacedTables(stores, [summary()])
        async with stores.database.begin() as db_tx:
            await tables.create(db_tx, 1)
        with pytest.raises(ConfigurationError, match="order_summary__g1"):
            async with stores.database.begin() as db_tx:
                await tables.create(db_tx, 1)

    async def test_hide_leaves_no_view(self, stores: Stores) -> None:
        table = summary()
        tables = PlacedTables(stores, [table])
        async with stores.database.begin() as db_tx:
            await tables.create(db_tx, 1)
            await tables.show(db_tx, 1)
        async with stores.database.begin() as db_tx:
            await stores[READ_MODELS].hide(db_tx, [table])
            await tables.drop(db_tx, 1, tables.names)
        with pytest.raises(DatabaseError):
            await read(stores, "SELECT * FROM order_summary")

    async def test_long_and_reserved_names(self, stores: Stores) -> None:
        reserved = sa.Table("order", sa.MetaData(), sa.Column("index", sa.Text, primary_key=True))
        other = summary(LONG[:-1] + "x")
        tables = PlacedTables(stores, [summary(LONG), other, reserved])
        # Only one of two tables may have an index of one name, so the second has to do without.
        other.indexes = {index for index in other.indexes if str(index.name).startswith("ix_")}
        for generation in (1, 12345):
            async with stores.database.begin() as db_tx:
                await tables.create(db_tx, generation)
                await tables.show(db_tx, generation)
        assert await read(stores, 'SELECT "index" FROM "order"') == []
        assert await read(stores, f"SELECT total FROM {LONG}") == []

    async def test_a_reader_of_every_column_survives_new_columns(self, stores: Stores, url: str) -> None:
        """The reader is another instance with statements prepared before the switch, as in another process."""
        old, new = summary(), summary("order_summary", sa.Column("lines", sa.Integer, nullable=False, default=5))
        before, after = PlacedTables(stores, [old]), PlacedTables(stores, [new])
        async with stores.database.begin() as db_tx:
            await before.create(db_tx, 1)
            await before.show(db_tx, 1)
            await db_tx.native.execute(before.physical(old, 1).insert().values(order_id="a", customer="c", total=1))
        reader = open_stores(url)
        await reader.database.open()
        try:
            for _ in range(3):
                assert await read(reader, "SELECT * FROM order_summary") == [("a", "c", 1)]
                assert await mapped(reader, sa.text("SELECT * FROM order_summary")) == [("a", "c", 1)]
            async with stores.database.begin() as db_tx:
                await after.create(db_tx, 2)
                await db_tx.native.execute(after.physical(new, 2).insert().values(order_id="a", customer="c", total=2))
                await after.show(db_tx, 2)
            assert await read(reader, "SELECT * FROM order_summary") == [("a", "c", 2, 5)]
            # Inside of a transaction the driver may not try again by itself: the error says so, and the next one works.
            rows: list[tuple[object, ...]] = []
            for _ in range(2):
                with contextlib.suppress(ConcurrencyConflict):
                    rows = await mapped(reader, sa.text("SELECT * FROM order_summary"))
            assert rows == [("a", "c", 2, 5)]
            assert await mapped(reader, sa.select(old.c.total)) == [(2,)]
        finally:
            await reader.database.close()

    async def test_a_table_that_is_declared_no_more_goes_with_its_generation(self, stores: Stores) -> None:
        """With its view, which nobody else has taken; until then readers of the old code find it."""
        kept, gone, taken = summary(), summary("shop_line"), summary("taken")
        for table in (gone, taken):
            table.indexes.clear()
        before = PlacedTables(stores, [kept, gone, taken])
        after, other = PlacedTables(stores, [kept]), PlacedTables(stores, [taken])
        for tables, generation in ((before, 1), (after, 2), (other, 5)):
            async with stores.database.begin() as db_tx:
                await tables.create(db_tx, generation)
                await tables.show(db_tx, generation)
        assert await read(stores, "SELECT * FROM shop_line") == []
        async with stores.database.begin() as db_tx:
            await after.drop(db_tx, 1, before.names)
        for name in ("shop_line", "shop_line__g1", "taken__g1", "order_summary__g1"):
            with pytest.raises(DatabaseError):
                await read(stores, f"SELECT * FROM {name}")
        for name in ("order_summary", "taken"):
            assert await read(stores, f"SELECT * FROM {name}") == []

    async def test_columns_may_go_away(self, stores: Stores) -> None:
        old = summary()
        new = sa.Table("order_summary", sa.MetaData(), sa.Column("order_id", sa.Text, primary_key=True))
        async with stores.database.begin() as db_tx:
            await PlacedTables(stores, [old]).create(db_tx, 1)
            await PlacedTables(stores, [old]).show(db_tx, 1)
        async with stores.database.begin() as db_tx:
            await PlacedTables(stores, [new]).create(db_tx, 2)
            await PlacedTables(stores, [new]).show(db_tx, 2)
        assert await read(stores, "SELECT * FROM order_summary") == []
        with pytest.raises(DatabaseError):
            await read(stores, "SELECT customer FROM order_summary")


class TestOnSqlite(Cases):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/service.db"


@pytest.mark.servers
class TestOnPostgres(Cases):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    async def test_rights_on_the_view_outlive_a_view_that_is_made_anew(self, stores: Stores) -> None:
        old = summary()
        new = sa.Table("order_summary", sa.MetaData(), sa.Column("order_id", sa.Text, primary_key=True))
        async with stores.database.begin() as db_tx:
            await PlacedTables(stores, [old]).create(db_tx, 1)
            await PlacedTables(stores, [old]).show(db_tx, 1)
            await db_tx.native.execute(sa.text("GRANT SELECT ON order_summary TO PUBLIC"))
        async with stores.database.begin() as db_tx:
            await PlacedTables(stores, [new]).create(db_tx, 2)
            await PlacedTables(stores, [new]).show(db_tx, 2)
        granted = await read(
            stores,
            "SELECT a.privilege_type FROM pg_class, aclexplode(relacl) AS a"
            " WHERE relname = 'order_summary' AND a.grantee = 0",
        )
        assert granted == [("SELECT",)]

    async def test_readers_wait_for_no_longer_than_the_switch(self, stores: Stores, url: str) -> None:
        """A reader in an open transaction has seen the old view: the switch waits for it, and gives up in time."""
        tables = PlacedTables(stores, [summary()])
        async with stores.database.begin() as db_tx:
            await tables.create(db_tx, 1)
            await tables.show(db_tx, 1)
        async with stores.database.begin() as reader:
            await reader.native.execute(sa.text("SELECT count(*) FROM order_summary"))
            with pytest.raises(ConcurrencyConflict):
                async with stores.database.begin() as db_tx:
                    await db_tx.native.execute(sa.text("SET LOCAL lock_timeout = 200"))
                    await tables.create(db_tx, 2)
                    await tables.show(db_tx, 2)
            await asyncio.wait_for(read(stores, "SELECT count(*) FROM order_summary"), 60)


def test_a_foreign_key_is_refused() -> None:
    metadata = sa.MetaData()
    sa.Table("orders", metadata, sa.Column("id", sa.Text, primary_key=True))
    lines = sa.Table("lines", metadata, sa.Column("order_id", sa.ForeignKey("orders.id")))
    with pytest.raises(DeclarationError, match="foreign key"):
        declared([lines])


def test_a_table_that_was_not_declared_is_refused() -> None:
    with pytest.raises(DeclarationError, match="not declared"):
        PlacedTables(open_stores("memory://"), [summary()]).physical(summary(), 1)


def test_names_are_cut_to_what_postgresql_keeps() -> None:
    assert fitting("order_summary", "__g1") == "order_summary__g1"
    first, second = fitting(LONG, "__g1"), fitting(LONG[:-1] + "x", "__g1")
    assert first != second
    assert first.endswith("__g1")
    assert len(first.encode()) <= IDENTIFIER_BYTES_MAX
    assert len(fitting("ä" * 40, "__g1").encode()) <= IDENTIFIER_BYTES_MAX


async def read(stores: Stores, statement: str) -> list[tuple[object, ...]]:
    """As Freehold's own statements read: outside of a transaction."""
    async with stores[SQL].direct() as sql:
        return [tuple(row) for row in await sql.fetch(statement)]


async def mapped(stores: Stores, statement: sa.Executable) -> list[tuple[object, ...]]:
    """As a service reads: through SQLAlchemy, in a transaction."""
    async with stores.database.begin() as db_tx:
        return [tuple(row) for row in await db_tx.native.execute(statement)]
