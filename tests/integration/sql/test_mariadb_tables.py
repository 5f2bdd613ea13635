"""Tables that MariaDB defines beside a transaction: what readers see, and what an attempt leaves that was cut short."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME

from freehold.conformance.harness import StoresHarness
from freehold.errors import ConcurrencyConflict, DeclarationError
from freehold.ports import Stores
from freehold.projection.read_model_store import READ_MODELS, TableSet
from freehold.projection.view_store import VIEWS, MaterializedView
from freehold.reconcile import Dataset, Replica
from freehold.reconcile.dataset_store import DATASETS
from freehold.sql import SQL, sql_of

pytestmark = pytest.mark.servers

OLD, NEW = TableSet("g", 1), TableSet("g", 2)
ORDERS = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.String(40), primary_key=True))
WIDER = sa.Table("orders", sa.MetaData(), *(each._copy() for each in ORDERS.columns), sa.Column("total", sa.Integer))
VIEW = MaterializedView("sales", "SELECT day, count(*) AS sold FROM sale GROUP BY day", key=("day",))


class Rollback(Exception):
    """Rolls a block back."""


@pytest.fixture
async def harness(mariadb_url: str) -> AsyncIterator[StoresHarness]:
    async with StoresHarness.on(mariadb_url) as harness:
        yield harness


@pytest.fixture
async def shown(harness: StoresHarness) -> Stores:
    """Two generations, of which the old one is shown."""
    store = harness.first[READ_MODELS]
    async with harness.first.database.begin() as db_tx:
        await store.create(db_tx, [ORDERS], OLD)
        await store.show(db_tx, [ORDERS], OLD)
        await store.create(db_tx, [WIDER], NEW)
        await sql_of(db_tx).execute("INSERT INTO orders__g1 (id) VALUES ('old')")
        await sql_of(db_tx).execute("INSERT INTO orders__g2 (id, total) VALUES ('new', 1)")
    return harness.first


async def ids(stores: Stores) -> list[object]:
    async with stores[SQL].direct() as sql:
        return [row[0] for row in await sql.fetch("SELECT id FROM orders")]


async def reads(stores: Stores) -> str:
    async with stores[SQL].direct() as sql:
        rows = await sql.fetch("SELECT VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_NAME = 'orders'")
    return str(rows[0][0])


async def test_readers_see_the_old_generation_until_the_commit(shown: Stores) -> None:
    async with shown.database.begin() as db_tx:
        await shown[READ_MODELS].show(db_tx, [WIDER], NEW)
        assert await ids(shown) == ["old"]
        assert [row[0] for row in await sql_of(db_tx).fetch("SELECT id FROM orders__g2")] == ["new"]
    assert await ids(shown) == ["new"]
    assert "union" not in await reads(shown)


async def test_a_rollback_leaves_the_old_generation_shown(shown: Stores) -> None:
    for _ in range(2):
        with pytest.raises(Rollback):
            async with shown.database.begin() as db_tx:
                await shown[READ_MODELS].show(db_tx, [WIDER], NEW)
                raise Rollback
        assert await ids(shown) == ["old"]
    async with shown.database.begin() as db_tx:
        await shown[READ_MODELS].drop(db_tx, ["orders"], NEW)
    assert await ids(shown) == ["old"]
    assert "g2" not in await reads(shown)


async def test_a_view_that_a_reader_holds_reads_the_right_generation(shown: Stores) -> None:
    """It stays a view on both until somebody can replace it."""
    async with shown.database.begin() as reading:
        async with shown.database.begin() as db_tx:
            await shown[READ_MODELS].show(db_tx, [WIDER], NEW)
            assert [row[0] for row in await sql_of(reading).fetch("SELECT id FROM orders")] == ["old"]
        assert await ids(shown) == ["new"]
        assert "union" in await reads(shown)
        with pytest.raises(ConcurrencyConflict):
            async with shown.database.begin() as db_tx:
                await shown[READ_MODELS].drop(db_tx, ["orders"], OLD)
    async with shown.database.begin() as db_tx:
        await shown[READ_MODELS].drop(db_tx, ["orders"], OLD)
    assert await ids(shown) == ["new"]
    assert "g1" not in await reads(shown)
    assert await shown.database.relations(["orders__g1", "orders__g2"]) == {"orders__g2": "table"}


async def test_a_table_that_an_attempt_has_left_is_replaced(harness: StoresHarness) -> None:
    store = harness.first[READ_MODELS]
    with pytest.raises(Rollback):
        async with harness.first.database.begin() as db_tx:
            await store.create(db_tx, [ORDERS], OLD)
            raise Rollback
    async with harness.first.database.begin() as db_tx:
        await store.create(db_tx, [WIDER], OLD)
        await sql_of(db_tx).execute("INSERT INTO orders__g1 (id, total) VALUES ('a', 1)")


async def test_tables_tell_letters_and_microseconds_apart(harness: StoresHarness) -> None:
    table = sa.Table("visits", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("at", sa.DateTime))
    at = datetime(2026, 3, 1, 12, 0, 0, 123456)  # noqa: DTZ001 - its columns have no zone
    async with harness.first.database.begin() as db_tx:
        await harness.first[READ_MODELS].create(db_tx, [table], OLD)
        for key in ("a", "A", "a "):
            await sql_of(db_tx).execute("INSERT INTO visits__g1 (id, at) VALUES ($1, $2)", (key, at))
        assert set(map(tuple, await sql_of(db_tx).fetch("SELECT id, at FROM visits__g1"))) == {
            ("a", at),
            ("A", at),
            ("a ", at),
        }


async def test_the_variant_of_a_column_is_its_type(harness: StoresHarness) -> None:
    at = sa.DateTime().with_variant(DATETIME(fsp=3), "mariadb")
    table = sa.Table("visits", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("at", at))
    async with harness.first.database.begin() as db_tx:
        await harness.first[READ_MODELS].create(db_tx, [table], OLD)
        rows = await sql_of(db_tx).fetch(
            "SELECT datetime_precision FROM information_schema.columns"
            " WHERE table_schema = DATABASE() AND table_name = 'visits__g1' AND column_name = 'at'"
        )
        assert [row[0] for row in rows] == [3]


async def test_a_key_of_zero_is_kept(harness: StoresHarness) -> None:
    table = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True))
    made = harness.first[READ_MODELS].physical(table, OLD)
    async with harness.first.database.begin() as db_tx:
        await harness.first[READ_MODELS].create(db_tx, [table], OLD)
        for number in (0, 1):
            await db_tx.native.execute(made.insert().values(number=number))
        assert [row[0] for row in await sql_of(db_tx).fetch("SELECT number FROM numbers__g1")] == [0, 1]


async def test_a_text_without_a_length_is_refused_in_words(harness: StoresHarness) -> None:
    table = sa.Table("visits", sa.MetaData(), sa.Column("id", sa.String(40)), sa.Column("note", sa.String))
    with pytest.raises(DeclarationError, match="'visits__g1' cannot be made"):
        async with harness.first.database.begin() as db_tx:
            await harness.first[READ_MODELS].create(db_tx, [table], OLD)


async def test_a_refresh_repeats_what_a_process_has_left(harness: StoresHarness) -> None:
    """It died while it read, or after the exchange, before the state was written."""
    stores = harness.first
    async with stores[SQL].direct() as sql:
        await sql.execute("CREATE TABLE sale (day INT NOT NULL)")
        await sql.execute("INSERT INTO sale (day) VALUES (1), (1)")
    await stores[VIEWS].refresh(VIEW)
    async with stores[SQL].direct() as sql:
        await sql.execute("CREATE TABLE sales__next LIKE sales")
        await sql.execute("CREATE TABLE sales__old LIKE sales")
        await sql.execute("DELETE FROM freehold_view")
        await sql.execute("INSERT INTO sale (day) VALUES (2)")
    await stores[VIEWS].refresh(VIEW)
    async with stores[SQL].direct() as sql:
        assert [tuple(row) for row in await sql.fetch("SELECT day, sold FROM sales ORDER BY day")] == [(1, 2), (2, 1)]
    assert await stores.database.relations(["sales", "sales__next", "sales__old"]) == {"sales": "table"}


async def test_a_refresh_gives_way_to_a_reader(harness: StoresHarness) -> None:
    """Who reads the view in a transaction is waited for shortly; that is no failure of the view."""
    stores = harness.first
    async with stores[SQL].direct() as sql:
        await sql.execute("CREATE TABLE sale (day INT NOT NULL)")
    await stores[VIEWS].refresh(VIEW)
    async with stores.database.begin() as db_tx:
        await sql_of(db_tx).fetch("SELECT day FROM sales")
        with pytest.raises(ConcurrencyConflict):
            await stores[VIEWS].refresh(VIEW)
    assert (await stores[VIEWS].refresh(VIEW)).failures == 0


async def test_pages_of_a_dataset_are_in_the_order_of_bytes_whatever_its_collation(harness: StoresHarness) -> None:
    stores, keys = harness.first, ("a", "B", "é", "_", "c")
    replica = Replica(Dataset("suite.people", "person", ("name",)), "people", {"person": "id"})
    for collation in ("utf8mb4_general_ci", "latin1_swedish_ci", "utf8mb4_nopad_bin"):
        charset = collation.partition("_")[0]
        async with stores[SQL].direct() as sql:
            await sql.execute(
                "CREATE OR REPLACE TABLE people (name VARCHAR(40),"
                f" id VARCHAR(40) CHARACTER SET {charset} COLLATE {collation} PRIMARY KEY)"
            )
            for key in keys:
                await sql.execute("INSERT INTO people (id) VALUES ($1)", (key,))
        ordered = sorted(keys, key=str.encode)
        assert [row[0] for row in await stores[DATASETS].page(replica, "", None, 10)] == ordered
        assert [row[0] for row in await stores[DATASETS].page(replica, ordered[0], ordered[3], 10)] == ordered[1:4]
        assert await stores[DATASETS].rows(replica, ["b", "B"]) == [("B", None)]


async def test_a_dataset_whose_keys_are_numbers_is_refused(harness: StoresHarness) -> None:
    stores = harness.first
    replica = Replica(Dataset("suite.people", "person", ("name",)), "people", {"person": "id"})
    async with stores[SQL].direct() as sql:
        await sql.execute("CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(40))")
        await sql.execute("INSERT INTO people (id) VALUES (1)")
    with pytest.raises(DeclarationError, match="no texts"):
        await stores[DATASETS].page(replica, "", None, 10)
