"""What is not as the migrations made it: found whatever it is, made good where nothing is lost by that."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.database import Defect
from freehold.errors import DatabaseError
from freehold.leases.store import LEASES
from freehold.migrations import Migration
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

pytestmark = pytest.mark.empty_database

_SERVICE = [
    Migration(
        "001-sale",
        {
            "": [
                "CREATE TABLE sale (id text PRIMARY KEY, n integer NOT NULL, note varchar(40), code text UNIQUE)",
                "CREATE INDEX sale_n ON sale (n, note)",
                "CREATE VIEW large_sale AS SELECT id FROM sale WHERE n > 100",
            ]
        },
    ),
    Migration("002-later", {"": ["ALTER TABLE sale ADD COLUMN paid integer NOT NULL DEFAULT 0"]}),
]
_TABLES_THAT_HELD_NOTHING = {"freehold_lease", "freehold_snapshot"}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/service.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
async def stores(url: str) -> AsyncIterator[Stores]:
    opened = open_stores(url, migrations=_SERVICE)
    await opened.database.open()
    await opened.database.upgrade("sales")
    yield opened
    await opened.database.close()


async def _run(stores: Stores, *statements: str) -> None:
    async with stores[SQL].direct() as sql:
        for statement in statements:
            await sql.execute(statement)


async def _defects(stores: Stores) -> dict[str, Defect]:
    return {each.subject: each for each in await stores.database.defects()}


def _is_sqlite(stores: Stores) -> bool:
    return stores.database.features.technology == "SQLite"


async def _made(stores: Stores) -> list[tuple[str, str]]:
    """Everything of Freehold's in the database, by kind and name, as the engine lists it."""
    if _is_sqlite(stores):
        statement = "SELECT type, name FROM sqlite_schema WHERE name LIKE 'freehold%'"
    else:
        statement = """
SELECT CASE c.relkind WHEN 'i' THEN 'index' ELSE 'table' END, c.relname::text FROM pg_class AS c
WHERE c.relname LIKE 'freehold%' AND c.relkind IN ('r', 'i') AND NOT EXISTS (
    SELECT 1 FROM pg_constraint AS k WHERE k.conindid = c.oid)
UNION ALL SELECT 'function', p.oid::regprocedure::text FROM pg_proc AS p WHERE p.proname LIKE 'freehold%'"""
    async with stores[SQL].direct() as sql:
        return [(str(kind), str(name)) for kind, name in await sql.fetch(statement)]


async def test_what_was_just_made_has_no_defects(stores: Stores) -> None:
    assert await stores.database.defects() == []
    assert await stores.database.repair() == []


async def test_everything_of_freeholds_is_missed(stores: Stores) -> None:
    made = sorted(await _made(stores))
    assert {"freehold_outbox_blocked", "freehold_outbox"} <= {name for _, name in made}
    for kind, name in made:
        if kind == "function" or name == "freehold_migration":
            continue
        cascade = " CASCADE" if kind == "table" and not _is_sqlite(stores) else ""
        await _run(stores, f"DROP {kind.upper()} {name}{cascade}")
    defects = await _defects(stores)
    # What is not known of functions is made known by applying them again.
    missed = {f"table {name}" for kind, name in made if kind == "table"} - set(defects)
    assert missed == {"table freehold_migration", "table freehold_object"}
    assert not any(each.lossless for each in defects.values() if each.subject.startswith("index"))


@pytest.mark.servers
@pytest.mark.parametrize("schema", ["", "?schema=sales"])
async def test_every_function_and_index_is_made_again(postgres_url: str, schema: str) -> None:
    stores = open_stores(postgres_url + schema, migrations=_SERVICE)
    await stores.database.open()
    await stores.database.upgrade("sales")
    assert await stores.database.defects() == []
    before = sorted(await _made(stores))
    for kind, name in before:
        if kind in {"function", "index"}:
            await _run(stores, f"DROP {kind.upper()} {'sales.' if schema and kind == 'index' else ''}{name}")
    missing = await _defects(stores)
    names = {f"{kind} {name.partition('(')[0].rpartition('.')[2]}" for kind, name in before if kind != "table"}
    assert set(missing) == names
    assert all(each.lossless and each.vital == each.subject.startswith("function") for each in missing.values())
    assert set(await stores.database.repair()) == names
    assert await stores.database.defects() == []
    assert sorted(await _made(stores)) == before
    await stores.database.close()


async def test_an_index_and_a_view_are_made_again(stores: Stores) -> None:
    await _run(stores, "DROP INDEX sale_n", "DROP VIEW large_sale", "DROP INDEX freehold_saga_key")
    defects = await _defects(stores)
    assert set(defects) == {"index sale_n", "view large_sale", "index freehold_saga_key"}
    assert all(each.lossless and each.vital == (each.subject == "view large_sale") for each in defects.values())
    assert {each.made_by for each in defects.values()} == {"service/001-sale", "freehold/saga"}
    assert set(await stores.database.repair()) == set(defects)
    assert await stores.database.defects() == []


async def test_what_held_data_is_not_made_again_empty(stores: Stores) -> None:
    tables = ("freehold_outbox", "freehold_inbox", "freehold_event", "freehold_meta", "sale")
    for table in tables:
        await _run(stores, f"DROP TABLE {table}{'' if _is_sqlite(stores) else ' CASCADE'}")
    found = await _defects(stores)
    for table in tables:
        lost = found[f"table {table}"]
        assert (lost.problem, lost.lossless, lost.vital) == ("is missing", False, True)
        assert f"restore {table} from a backup" in lost.fix
    await stores.database.repair()
    assert {f"table {table}" for table in tables} <= set(await _defects(stores))


async def test_leases_are_made_again_behind_every_token(stores: Stores) -> None:
    await stores[LEASES].ensure(["one"])
    (seen,) = await stores[LEASES].list("one")
    taken = await stores[LEASES].acquire(seen, "first")
    assert taken is not None
    await _run(stores, "DROP TABLE freehold_lease", "DROP TABLE freehold_snapshot")
    assert set(await stores.database.repair()) >= {f"table {name}" for name in _TABLES_THAT_HELD_NOTHING}
    assert await stores.database.defects() == []
    await stores[LEASES].ensure(["one"])
    (again,) = await stores[LEASES].list("one")
    assert again.token > taken.token + 1_000_000


async def test_without_the_record_of_migrations_nothing_is_applied(stores: Stores) -> None:
    await _run(stores, "DROP TABLE freehold_migration")
    for action in (stores.database.pending, stores.database.upgrade, stores.database.defects):
        with pytest.raises(DatabaseError, match=r"freehold_migration is missing.*restore freehold_migration"):
            await action()


async def test_without_the_facts_nothing_is_applied(stores: Stores) -> None:
    await _run(stores, "DROP TABLE freehold_meta")
    with pytest.raises(DatabaseError, match=r"freehold_meta is missing.*restore freehold_meta"):
        await stores.database.upgrade("sales")


async def test_a_services_column_view_and_unique_constraint(stores: Stores) -> None:
    await _run(stores, "DROP VIEW large_sale", "ALTER TABLE sale DROP COLUMN paid")
    found = await _defects(stores)
    assert found["view large_sale"].lossless
    assert "add column paid integer not null default 0" in found["column sale.paid"].fix.lower()
    assert not found["column sale.paid"].lossless
    assert len(found) == 2
    assert await stores.database.repair() == ["view large_sale"]
    assert set(await _defects(stores)) == {"column sale.paid"}


@pytest.mark.servers
async def test_on_postgresql_types_nullability_and_keys(stores: Stores) -> None:
    if _is_sqlite(stores):
        return
    await _run(
        stores,
        "ALTER TABLE sale DROP CONSTRAINT sale_pkey",
        "ALTER TABLE sale DROP CONSTRAINT sale_code_key",
        "ALTER TABLE sale ALTER COLUMN n DROP NOT NULL",
        "ALTER TABLE sale ALTER COLUMN note SET NOT NULL",
        "ALTER TABLE sale ALTER COLUMN note TYPE text",
        "ALTER TABLE sale ALTER COLUMN paid DROP DEFAULT",
        "ALTER TABLE freehold_outbox ALTER COLUMN attempts TYPE bigint",
        "ALTER TABLE freehold_outbox ALTER COLUMN position DROP IDENTITY",
    )
    told = {f"{each.subject} {each.problem}" for each in await stores.database.defects()}
    assert told == {
        "primary key (id) of sale is missing",
        "unique constraint (code) of sale is missing",
        "column sale.n may be NULL",
        "column sale.note may not be NULL",
        "column sale.note has the type text instead of character varying(40)",
        "column sale.paid has no default any more",
        "column freehold_outbox.attempts has the type bigint instead of integer",
        "column freehold_outbox.position has no identity any more",
    }
    await stores.database.repair()
    left = {f"{each.subject} {each.problem}" for each in await stores.database.defects()}
    assert left == {each for each in told if "type" in each or "identity" in each}


async def test_on_sqlite_a_table_that_was_made_anew_without_its_keys(tmp_path: Path) -> None:
    stores = open_stores(f"sqlite:///{tmp_path}/service.db", migrations=_SERVICE)
    await stores.database.open()
    await stores.database.upgrade()
    await _run(
        stores,
        "DROP VIEW large_sale",
        "DROP TABLE sale",
        "CREATE TABLE sale (id text, n text, note varchar(40), code text, paid integer NOT NULL DEFAULT 0)",
    )
    told = {f"{each.subject} {each.problem}" for each in await stores.database.defects()}
    assert told >= {
        "primary key (id) of sale is missing",
        "unique constraint (code) of sale is missing",
        "column sale.n has the type TEXT instead of INTEGER",
        "column sale.n may be NULL",
        "index sale_n is missing",
    }
    await stores.database.close()


async def test_what_a_user_added_is_left_alone(stores: Stores) -> None:
    await _run(
        stores,
        "ALTER TABLE sale ADD COLUMN more text",
        "ALTER TABLE freehold_outbox ADD COLUMN tenant text",
        "CREATE INDEX mine ON freehold_outbox (tenant)",
        "CREATE TABLE elsewhere (id text PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT id FROM elsewhere",
    )
    assert await stores.database.defects() == []


async def test_what_a_later_migration_dropped_is_not_missed(stores: Stores, url: str) -> None:
    later = [
        *_SERVICE,
        Migration(
            "003-away",
            {"": ["DROP VIEW large_sale", "DROP INDEX sale_n", "ALTER TABLE sale RENAME TO sold"]},
        ),
    ]
    again = open_stores(url, migrations=later)
    await again.database.open()
    await again.database.upgrade("sales")
    assert await again.database.defects() == []
    await _run(stores, "DROP TABLE sold")
    assert [each.subject for each in await again.database.defects()] == ["table sold"]
    await again.database.close()
    given_up = open_stores(url, migrations=[*later, Migration("004-gone", {"": ["DROP TABLE IF EXISTS sold"]})])
    await given_up.database.open()
    await given_up.database.upgrade("sales")
    assert await given_up.database.defects() == []
    await given_up.database.close()


async def test_an_index_that_cannot_be_made_again_says_why(tmp_path: Path) -> None:
    unique = [*_SERVICE, Migration("003-unique", {"": ["CREATE UNIQUE INDEX sale_paid ON sale (paid)"]})]
    stores = open_stores(f"sqlite:///{tmp_path}/service.db", migrations=unique)
    await stores.database.open()
    await stores.database.upgrade()
    await _run(
        stores,
        "DROP INDEX sale_paid",
        "DROP INDEX sale_n",
        "INSERT INTO sale (id, n) VALUES ('a', 1), ('b', 1)",
    )
    with pytest.raises(DatabaseError, match=r"index sale_paid could not be repaired: .*UNIQUE"):
        await stores.database.repair()
    assert set(await _defects(stores)) == {"index sale_paid"}
    await stores.database.close()


async def test_an_index_of_the_same_name_on_other_columns(stores: Stores) -> None:
    await _run(stores, "DROP INDEX sale_n", "CREATE INDEX sale_n ON sale (note)")
    (other,) = (await _defects(stores)).values()
    assert (other.subject, other.problem) == ("index sale_n", "differs from its migration")
    assert await stores.database.repair() == ["index sale_n"]
    assert await stores.database.defects() == []


@pytest.mark.servers
async def test_a_function_with_another_body(stores: Stores) -> None:
    if _is_sqlite(stores):
        return
    await _run(
        stores,
        "CREATE OR REPLACE FUNCTION freehold_schedule_next_due() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
    )
    (other,) = (await _defects(stores)).values()
    assert re.match("function freehold_schedule_next_due differs from its migration", str(other))
    assert await stores.database.repair() == ["function freehold_schedule_next_due"]
    assert await stores.database.defects() == []
