"""Freehold's tables in schemas of their own: two services in one database, and each as if the other were not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from tests.integration.projection.models import append, caught_up, read_model, rows, until
from tests.integration.runtime.workers import Numbered
from tests.integration.sql.test_enlist import POSTGRES

from freehold import ConfigurationError, MaterializedView, Outbox, RunningService, Settings
from freehold.adapters.postgres.own_schema import Schema
from freehold.adapters.sql.engine.packaged import packaged_schema
from freehold.broker import Subscription
from freehold.conformance.outbox import outgoing, take_partitions
from freehold.eventstore.store import EVENTS, Append, NewEvent
from freehold.ids import new_id
from freehold.messages import decode_envelope
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.projection.view_store import VIEWS
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL
from freehold_shop.verify.readers import open_reader

pytestmark = [pytest.mark.servers, pytest.mark.empty_database]
VIEW = MaterializedView("daily", "SELECT account, cents FROM ledger", key=("account",))


@asynccontextmanager
async def opened(url: str, *, service: str = "bank") -> AsyncIterator[Stores]:
    stores = open_stores(url)
    await stores.database.open()
    try:
        await stores.database.upgrade(service)
        yield stores
    finally:
        await stores.database.close()


@asynccontextmanager
async def admin(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def noted(stream: str) -> Append:
    event = NewEvent(id=new_id(), type="t", schema_version=1, data=b"{}", correlation_id=new_id(), hlc=1)
    return Append(stream, (event,))


async def settled(stores: Stores) -> int:
    fetched = await stores[OUTBOX].fetch(await take_partitions(stores), 1000)
    return min(fetched.high_water_marks.values())


async def test_each_service_has_its_schema_and_its_mark(postgres_url: str) -> None:
    async with opened(f"{postgres_url}?schema=bank", service="bank") as bank:
        async with opened(f"{postgres_url}?schema=shop", service="shop") as shop:
            assert (await bank.database.owner(), await shop.database.owner()) == ("bank", "shop")
        with pytest.raises(ConfigurationError, match="'bank'"):
            async with opened(f"{postgres_url}?schema=bank", service="shop"):
                pass
    async with admin(postgres_url) as connection:
        found = await connection.fetch(
            "SELECT n.nspname, count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE c.relname LIKE 'freehold%' GROUP BY 1 ORDER BY 1"
        )
        functions = await connection.fetch(
            "SELECT DISTINCT n.nspname FROM pg_proc AS f JOIN pg_namespace AS n ON n.oid = f.pronamespace"
            " WHERE f.proname LIKE 'freehold%' ORDER BY 1"
        )
    assert [row[0] for row in found] == ["bank", "shop"]
    assert found[0][1] == found[1][1]
    assert [row[0] for row in functions] == ["bank", "shop"]


async def test_an_open_transaction_of_one_holds_up_nobody_of_the_other(postgres_url: str) -> None:
    """Not its readers, its relay, its writers of the same keys and streams, its schedule, nor its migrations."""
    async with (
        opened(f"{postgres_url}?schema=bank") as bank,
        opened(f"{postgres_url}?schema=shop") as shop,
        asyncio.timeout(60),
        bank.database.begin() as held,
    ):
        await bank[OUTBOX].stage(held, [outgoing("k")])
        await bank[EVENTS].append(held, [noted("s-1")])
        await bank.database.lock_migrations(held.sql)  # type: ignore[attr-defined] # an SQL database
        for _ in range(3):
            async with shop.database.begin() as db_tx:
                await shop[OUTBOX].stage(db_tx, [outgoing("k")])
                await shop[EVENTS].append(db_tx, [noted("s-1")])
        assert await shop[EVENTS].high_water_mark() == 3
        assert len((await shop[EVENTS].read_all(0)).events) == 3
        assert await settled(shop) == 3
        async with opened(f"{postgres_url}?schema=shop"), opened(f"{postgres_url}?schema=third"):
            pass
        # A reader of the same schema is blocked: what was looked at is what holds readers up.
        assert await bank[EVENTS].high_water_mark() == 0
        assert await settled(bank) < 1


@pytest.mark.parametrize("how", POSTGRES)
async def test_a_users_transaction_needs_no_search_path(postgres_url: str, how: str) -> None:
    """Whatever the driver: statements and functions find the schema, and nothing lands in another."""
    async with opened(f"{postgres_url}?schema=bank") as stores:
        async with POSTGRES[how](postgres_url) as (native, commit, _):
            db_tx = stores.database.enlist(native)
            await stores[OUTBOX].stage(db_tx, [outgoing("k")])
            await stores[EVENTS].append(db_tx, [noted("s-1")])
            assert len(await stores[EVENTS].read_stream("s-1", db_tx=db_tx)) == 1
            await commit()
        assert (await stores[OUTBOX].stats()).pending == 1
        assert len((await stores[EVENTS].read_all(0)).events) == 1


async def test_two_outboxes_of_one_database_publish_to_their_own_brokers(postgres_url: str, tmp_path: Path) -> None:
    names = ("bank", "shop")
    outboxes = [
        Outbox("source", f"{postgres_url}?schema={name}", f"embedded:///{tmp_path}/{name}.db", poll_seconds=0.1)
        for name in names
    ]
    async with outboxes[0], outboxes[1]:
        async with admin(postgres_url) as connection, connection.transaction():
            for number in range(10):
                for name, outbox in zip(names, outboxes, strict=True):
                    await outbox.publish(connection, Numbered(name, number))
        for name, outbox in zip(names, outboxes, strict=True):
            consumer = await outbox.running.broker.subscribe(Subscription("reader", frozenset({"source.events"})))
            keys: list[str] = []
            async with asyncio.timeout(60):
                while len(keys) < 10:
                    batch = await consumer.fetch(10, 1.0)
                    if batch is not None:
                        keys += [decode_envelope(each.document).key for each in batch.deliveries]
                        await batch.ack(len(batch.deliveries))
            assert keys == [name] * 10


async def test_read_models_of_one_name_stand_side_by_side(postgres_url: str, tmp_path: Path) -> None:
    """Made, read and dropped in the schema of each; a table of that name further down the search path is nobody's."""
    async with admin(postgres_url) as connection:
        await connection.execute("CREATE TABLE public.account__g1 (foreign_rows text)")
        await connection.execute("INSERT INTO public.account__g1 VALUES ('kept')")
    models = {name: read_model() for name in ("one", "two")}
    for name, model in models.items():
        broker = f"embedded:///{tmp_path}/{name}.db"
        database = f"{postgres_url}?schema={name}"
        settings = Settings.load(model.service.name, environ={}, database=database, broker=broker)
        async with RunningService(model.service, settings, roles=("projections",)) as running:
            amount = 3 if name == "one" else 4
            await append(running, "a", amount)
            await until(partial(caught_up, running, model))
            assert await rows(running, model.accounts) == [("a", amount, 1, 1)]
    async with admin(postgres_url) as connection:
        found = await connection.fetch(
            "SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE c.relname = 'account' ORDER BY 1"
        )
        assert [row[0] for row in found] == ["one", "two"]
        assert await connection.fetchval("SELECT foreign_rows FROM public.account__g1") == "kept"


async def test_materialised_views_of_one_name_stand_side_by_side(postgres_url: str) -> None:
    async with admin(postgres_url) as connection:
        await connection.execute("CREATE TABLE public.ledger (account text, cents integer)")
        await connection.execute("CREATE MATERIALIZED VIEW public.daily AS SELECT 'public' AS account")
    async with opened(f"{postgres_url}?schema=one") as one, opened(f"{postgres_url}?schema=two") as two:
        for stores in (one, two):
            await stores[VIEWS].refresh(VIEW)
            await stores[VIEWS].refresh(VIEW)
        assert await one[VIEWS].drop("daily")
        await two[VIEWS].refresh(VIEW)
    async with admin(postgres_url) as connection:
        found = await connection.fetch("SELECT schemaname FROM pg_matviews WHERE matviewname = 'daily' ORDER BY 1")
    assert [row[0] for row in found] == ["public", "two"]


async def test_a_schema_through_pgbouncer(pgbouncer_url: str) -> None:
    url = f"{pgbouncer_url}?statement_cache_size=0&schema=bank"
    async with opened(url) as stores, opened(f"{pgbouncer_url}?statement_cache_size=0&schema=shop") as other:
        async with stores.database.begin() as db_tx:
            await db_tx.native.exec_driver_sql("CREATE TABLE things (id text)")
            await stores[OUTBOX].stage(db_tx, [outgoing("k")])
            await stores[EVENTS].append(db_tx, [noted("s-1")])
        async with stores[SQL].direct() as sql:
            assert await sql.execute("INSERT INTO things VALUES ('x')") == 1
            ((path,),) = await sql.fetch("SELECT current_schemas(false)::text")
        assert path == "{bank,public}"
        assert await stores[EVENTS].high_water_mark() == 1
        assert await other[EVENTS].high_water_mark() == 0


async def test_a_schema_that_the_role_may_not_make_is_told(postgres_url: str) -> None:
    role = f"clerk_{postgres_url.rpartition('_')[2]}"
    async with admin(postgres_url) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        try:
            address = postgres_url.rpartition("@")[2]
            url = f"postgresql://{role}:x@{address}?schema=bank"
            with pytest.raises(ConfigurationError, match="'bank' does not exist") as caught:
                async with opened(url):
                    pass
            assert "CREATE SCHEMA bank AUTHORIZATION" in caught.value.hint
            await connection.execute("CREATE SCHEMA bank")
            with pytest.raises(ConfigurationError, match="no USAGE right on the schema 'bank'") as caught:
                async with opened(url):
                    pass
            assert "GRANT USAGE" in caught.value.hint
            await connection.execute(f"GRANT USAGE, CREATE ON SCHEMA bank TO {role}")
            async with opened(url) as stores:
                assert await stores.database.owner() == "bank"
        finally:
            await connection.execute(f"DROP OWNED BY {role}")
            await connection.execute(f"DROP ROLE {role}")


async def test_a_role_without_the_right_to_make_tables_works_in_a_schema(postgres_url: str) -> None:
    """With what `freehold db grants` prints, and nothing more."""
    role = f"clerk_{postgres_url.rpartition('_')[2]}"
    url = f"postgresql://{role}:x@{postgres_url.rpartition('@')[2]}?schema=bank"
    async with admin(postgres_url) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        try:
            async with opened(f"{postgres_url}?schema=bank") as owner:
                for statement in await owner.database.grants(role, None):
                    await connection.execute(statement)
            async with opened(url) as stores:
                async with stores.database.begin() as db_tx:
                    await stores[OUTBOX].stage(db_tx, [outgoing("k")])
                    await stores[EVENTS].append(db_tx, [noted("s-1")])
                assert await stores[EVENTS].high_water_mark() == 1
                assert await settled(stores) == 1
                assert not [
                    each for each in await stores.database.run_checks() if each.subject == "rights" and not each.ok
                ]
        finally:
            await connection.execute(f"DROP OWNED BY {role}")
            await connection.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(("made", "asked"), [("?schema=bank", "?options=-csearch_path%3Dbank"), ("", "?schema=public")])
async def test_tables_are_reached_in_one_way_only(postgres_url: str, made: str, asked: str) -> None:
    """With other lock numbers on the same tables, writers would not wait for each other, and readers skip."""
    async with opened(postgres_url + made):
        pass
    with pytest.raises(ConfigurationError, match="schema"):
        await open_stores(postgres_url + asked).database.open()


async def test_the_shops_verify_reads_a_schema(postgres_url: str) -> None:
    url = f"{postgres_url}?schema=bank"
    async with opened(url):
        pass
    with open_reader(url) as reader:
        assert list(reader.rows("SELECT value FROM freehold_meta WHERE name = 'service'")) == [("bank",)]


def test_every_name_in_the_migrations_is_qualified() -> None:
    """But names of indexes, which are made in the schema of their table, and new names, which stay in theirs."""
    statements = list(packaged_schema("freehold.adapters.postgres", "postgresql").statements("postgresql"))
    schema = Schema("bank", statements)
    for statement in statements:
        words = schema.qualified(statement).replace("\n", " ").split()
        for before, word in zip(["", *words], words, strict=False):
            if word.startswith("freehold_"):
                assert before in {"INDEX", "TO"}, f"{before} {word}"
        assert "1179143000" not in schema.qualified(statement)
        assert "1179149686" not in schema.qualified(statement)
    assert schema.qualified("SELECT freehold_mine FROM freehold_outbox") == (
        'SELECT freehold_mine FROM "bank".freehold_outbox'
    )
