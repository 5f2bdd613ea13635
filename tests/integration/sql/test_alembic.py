"""Alembic's autogenerate beside Freehold's tables: with the filters it finds nothing, without them it drops all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from tests.integration.projection.models import ReadModel, append, caught_up, read_model, settings_for, until

from freehold import MaterializedView, Migration, RunningService
from freehold.alembic import filters, include_name, include_object
from freehold.projection.replay import TimeRange
from freehold.projection.view_store import VIEWS
from freehold.runtime import ProjectionOperations, ReplayOperations
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.empty_database

_THEIRS = {
    "sqlite": ["CREATE TABLE sale (day INTEGER NOT NULL PRIMARY KEY, cents INTEGER NOT NULL)"],
    "postgresql": ["CREATE TABLE sale (day integer NOT NULL PRIMARY KEY, cents integer NOT NULL)"],
}
_DAYS = MaterializedView("sale_days", "SELECT day, sum(cents) AS cents FROM sale GROUP BY day", key=("day",))


def _metadata() -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table("sale", metadata, sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
             sa.Column("cents", sa.Integer, nullable=False))  # fmt: skip
    return metadata


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bank.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def model(url: str) -> ReadModel:
    """A service whose database holds all that Freehold makes: two generations, a replay, a materialized view."""
    model = read_model()
    service = model.service
    service.migrations = [Migration("100-sale", _THEIRS)]
    service.views(_DAYS)
    async with RunningService(service, settings_for(url)) as running, asyncio.timeout(60):
        await append(running, "ada", 5)
        await until(lambda: caught_up(running, model))
        actions = ProjectionOperations(running.context)
        await actions.rebuild("accounts", actor="test", reason="test")
        span = TimeRange(None, datetime.now(UTC))
        await ReplayOperations(actions).begin("accounts", span, "new", actor="test", reason="test")
        await until(running.stores[VIEWS].states)
    return model


def _driver(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


def _differences(url: str, metadata: sa.MetaData, **options: Any) -> list[Any]:
    """What autogenerate would write into a revision."""
    context = import_module("alembic.runtime.migration").MigrationContext
    compare = import_module("alembic.autogenerate").compare_metadata
    engine = sa.create_engine(_driver(url))
    with engine.connect() as connection:
        found: list[Any] = compare(context.configure(connection, opts=options), metadata)
    engine.dispose()
    return found


def _tables(differences: list[Any], what: str) -> set[str]:
    return {each[1].name for each in differences if each[0] == what}


async def test_without_a_filter_autogenerate_drops_all_of_freehold(url: str, model: ReadModel) -> None:
    dropped = _tables(_differences(url, _metadata()), "remove_table")
    assert {"freehold_outbox", "freehold_event", "freehold_migration", "account__g1", "account__g2"} <= dropped
    assert "account__r1" in dropped


async def test_with_the_filters_autogenerate_finds_nothing(url: str, model: ReadModel) -> None:
    assert _differences(url, _metadata(), **filters(model.service)) == []


async def test_the_filter_of_names_is_enough_without_materialised_views(url: str, model: ReadModel) -> None:
    """On SQLite a materialized view is a table, whose name only the service knows."""
    found = _differences(url, _metadata(), include_name=include_name)
    emulated = {"sale_days"} if url.startswith("sqlite") else set()
    assert _tables(found, "remove_table") == emulated
    assert {each[0] for each in found} <= {"remove_table", "remove_index"}


async def test_tables_of_projections_in_the_metadata_are_not_created(url: str, model: ReadModel) -> None:
    metadata = _metadata()
    model.accounts.to_metadata(metadata)
    model.entries.to_metadata(metadata)
    assert _tables(_differences(url, metadata, include_name=include_name), "add_table") == {"account", "entry"}
    assert _differences(url, metadata, **filters(model.service)) == []
    both = {"include_name": include_name, "include_object": include_object}
    assert _tables(_differences(url, metadata, **both), "add_table") == set()


async def test_what_differs_in_tables_of_ones_own_is_still_found(url: str, model: ReadModel) -> None:
    metadata = _metadata()
    sa.Table("refund", metadata, sa.Column("id", sa.Integer, primary_key=True))
    metadata.tables["sale"].append_column(sa.Column("till", sa.Text))
    found = _differences(url, metadata, **filters(model.service))
    assert sorted(each[0] for each in found) == ["add_column", "add_table"]


async def test_ones_own_filters_are_asked_as_well(url: str, model: ReadModel) -> None:
    asked: set[str | None] = set()

    def by_name(name: str | None, type_: str, parent_names: object) -> bool:
        asked.add(name)
        return name != "sale"

    def by_object(object: Any, name: str | None, type_: str, reflected: bool, compare_to: object) -> bool:
        return name != "sale"

    options = filters(model.service, include_name=by_name, include_object=by_object)
    assert _differences(url, sa.MetaData(), **options) == []
    assert "sale" in asked
    assert not any(str(name).startswith("freehold_") for name in asked)


async def test_alembics_own_command_finds_nothing_to_do(url: str, model: ReadModel, tmp_path: Path) -> None:
    """`alembic check` with an environment as an application has it."""
    place = tmp_path / "migrations"
    place.mkdir()
    (place / "env.py").write_text(
        dedent(
            """
            import sqlalchemy as sa
            from alembic import context

            from freehold.alembic import include_name

            def mine(name, type_, parents):
                return include_name(name, type_, parents) and name != "sale_days"

            engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
            metadata = context.config.attributes["metadata"]
            with engine.connect() as connection:
                context.configure(connection=connection, target_metadata=metadata, include_name=mine)
                with context.begin_transaction():
                    context.run_migrations()
            engine.dispose()
            """
        )
    )
    command = import_module("alembic.command")
    config = import_module("alembic.config").Config()
    config.set_main_option("script_location", str(place))
    config.set_main_option("sqlalchemy.url", _driver(url).replace("%", "%%"))
    config.attributes["metadata"] = _metadata()
    command.check(config)
    config.attributes["metadata"] = sa.MetaData()
    with pytest.raises(import_module("alembic.util").CommandError, match="remove_table"):
        command.check(config)


@pytest.mark.servers
async def test_other_schemas_are_looked_through_as_well(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = postgres_url.rpartition("/")[2]
        connection.execute("CREATE SCHEMA bank")
        connection.execute(f"ALTER DATABASE {name} SET search_path TO bank".encode())
    stores = open_stores(postgres_url)
    await stores.database.open()
    await stores.database.upgrade()
    await stores.database.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET search_path TO public".encode())
    dropped = _differences(postgres_url, sa.MetaData(), include_schemas=True)
    assert {"freehold_outbox"} <= _tables(dropped, "remove_table")
    assert _differences(postgres_url, sa.MetaData(), include_schemas=True, include_name=include_name) == []


@pytest.mark.parametrize(
    ("name", "included"),
    [
        ("sale", True),
        ("freehold", True),
        ("freeholder", True),
        ("freehold_outbox", False),
        ("freehold_view", False),
        ("account__g12", False),
        ("account__r3", False),
        ("account__g0", True),
        ("account_g1", True),
        ("account__gone", True),
        (None, True),
    ],
)
def test_names_are_told_apart(name: str | None, included: bool) -> None:
    assert include_name(name, "table", {"schema_name": "any"}) is included
    assert include_name(name, "column", {"table_name": "sale"})
    assert include_object(None, name, "table", True, None) is included
