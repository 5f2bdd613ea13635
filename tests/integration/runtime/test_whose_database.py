"""Whose database it is: two services never work on one without a word, whoever comes first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from freehold import ConfigurationError, Inbox, Migration, Outbox, RunningService, Service, Settings
from freehold.ports import Stores
from freehold.runtime.adapters import open_broker, open_stores
from freehold.sql import SQL

pytestmark = pytest.mark.empty_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/service.db"
    return str(request.getfixturevalue("postgres_url"))


def service(name: str, tmp_path: Path, database: str, *, upgrade: bool = True) -> RunningService:
    broker = f"embedded:///{tmp_path}/{name}-broker.db"
    settings = Settings.load(name, environ={}, database=database, broker=broker, migrate_on_start=upgrade)
    table = Migration("001-table", {"": [f"CREATE TABLE {name}_things (id text)"]})
    return RunningService(Service(name, migrations=[table]), settings, roles=())


async def applied(database: str) -> set[str]:
    stores = open_stores(database)
    await stores.database.open()
    try:
        return await tables(stores)
    finally:
        await stores.database.close()


async def tables(stores: Stores) -> set[str]:
    statement = {
        "PostgreSQL": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        "SQLite": "SELECT name FROM sqlite_schema WHERE type = 'table'",
    }[stores.database.features.technology]
    async with stores[SQL].direct() as sql:
        return {str(row[0]) for row in await sql.fetch(statement)}


@pytest.mark.parametrize("upgrade", [True, False])
async def test_a_second_service_on_a_database_is_refused_by_name(
    database: str, tmp_path: Path, *, upgrade: bool
) -> None:
    async with service("orders", tmp_path, database):
        pass
    with pytest.raises(ConfigurationError, match="belongs to 'orders', and this is 'billing'"):
        await service("billing", tmp_path, database, upgrade=upgrade).start()
    assert "billing_things" not in await applied(database)
    async with service("orders", tmp_path, database, upgrade=upgrade):
        pass


async def test_of_two_that_start_at_once_on_an_empty_database_one_does(database: str, tmp_path: Path) -> None:
    both = [service(name, tmp_path, database) for name in ("orders", "billing")]
    outcomes = await asyncio.gather(*(each.start() for each in both), return_exceptions=True)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert [type(outcome) for outcome in refused] == [ConfigurationError]
    winner = both[outcomes.index(None)].service.name
    assert {name for name in await applied(database) if name.endswith("_things")} == {f"{winner}_things"}
    await asyncio.gather(*(each.stop(0.0) for each in both))


async def test_a_database_from_before_there_were_marks_is_marked_by_its_service(database: str, tmp_path: Path) -> None:
    async with service("orders", tmp_path, database) as running, running.stores.database.begin() as db_tx:
        await db_tx.native.exec_driver_sql("DELETE FROM freehold_meta WHERE name = 'service'")
    async with service("orders", tmp_path, database) as running:
        assert await running.stores.database.owner() == "orders"


async def test_an_outbox_owns_its_database_and_inboxes_share_it(database: str, tmp_path: Path) -> None:
    """An inbox is receipts by consumer: any number of consumers stand beside the service that owns the database."""
    broker = f"embedded:///{tmp_path}/broker.db"
    driver = "sqlite+aiosqlite:" if database.startswith("sqlite") else "postgresql+asyncpg:"
    engine = create_async_engine(driver + database.partition(":")[2])
    async with (
        Inbox("mails", database) as mails,
        Outbox("orders", database, broker, relay=False),
        Inbox("orders-bills", database) as bills,
    ):
        with pytest.raises(ConfigurationError, match="'orders'"):
            async with Outbox("billing", database, broker, relay=False):
                pass
        async with AsyncSession(engine) as session, session.begin():
            assert await mails.first_time(session, "m-1")
            assert await bills.first_time(session, "m-1")
    await engine.dispose()


async def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    broker = open_broker(f"embedded:///{tmp_path}/broker.db")
    await broker.open()
    await broker.close()
    with pytest.raises(ConfigurationError, match="embedded broker"):
        await open_stores(f"sqlite:///{tmp_path}/broker.db").database.open()
    async with service("orders", tmp_path, f"sqlite:///{tmp_path}/orders.db"):
        pass
    with pytest.raises(ConfigurationError, match="database of a service"):
        await open_broker(f"embedded:///{tmp_path}/orders.db").open()
