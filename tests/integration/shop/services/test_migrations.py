"""The migrations of the services on MariaDB, where each statement commits: one that was cut is run again."""

from __future__ import annotations

import importlib

import pytest
from sqlalchemy import MetaData

from freehold.database import DatabaseOptions
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL
from freehold_shop.assembly import SERVICES

pytestmark = pytest.mark.servers
MIGRATED = [name for name, each in SERVICES.items() if each.service.migrations]
_COLUMNS = """SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE 'freehold%'"""
_COLLATIONS = """SELECT DISTINCT COLLATION_NAME FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND COLLATION_NAME IS NOT NULL AND TABLE_NAME NOT LIKE 'freehold%'"""


@pytest.mark.parametrize("name", MIGRATED)
async def test_a_migration_that_was_cut_is_completed_and_gives_the_declared_tables(name: str, mariadb_url: str) -> None:
    migrations = SERVICES[name].service.migrations
    statements = [each for migration in migrations for each in migration.for_dialect("mariadb")]
    stores = open_stores(mariadb_url, DatabaseOptions(), migrations)
    await stores.database.open()
    try:
        async with stores[SQL].direct() as sql:
            for statement in statements[:-1]:
                await sql.execute(statement)
        await stores.database.upgrade()
        async with stores[SQL].direct() as sql:
            for statement in statements:
                await sql.execute(statement)
            found = {(str(table), str(column)) for table, column in await sql.fetch(_COLUMNS)}
            assert [tuple(row) for row in await sql.fetch(_COLLATIONS)] == [("utf8mb4_nopad_bin",)]
    finally:
        await stores.database.close()
    assert {each for each in _declared(name) if each[0] in {table for table, _ in found}} == found - {
        ("stock_turn", "id")  # only locked, by statements of its own
    }


def _declared(name: str) -> set[tuple[str, str]]:
    metadata: MetaData = importlib.import_module(f"freehold_shop.{name}.tables").metadata
    return {(table.name, column.name) for table in metadata.tables.values() for column in table.columns}
