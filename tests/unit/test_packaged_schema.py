"""The files of Freehold's schema: one for each port and engine, with the same columns in the same order."""

from __future__ import annotations

from pathlib import Path

import pytest

import freehold.adapters
from freehold.adapters.postgres import declared
from freehold.adapters.postgres.ports import PORTS
from freehold.adapters.sql.engine import packaged
from freehold.adapters.sql.engine.packaged import PackagedSchema, packaged_schema
from freehold.adapters.sql.inspection.catalogue import Catalogue, Kind
from freehold.adapters.sqlite import catalogue

_ADAPTERS = Path(freehold.adapters.__path__[0])


@pytest.fixture(scope="module")
def on_sqlite() -> PackagedSchema:
    return packaged_schema("freehold.adapters.sqlite", "sqlite")


@pytest.fixture(scope="module")
def on_postgres() -> PackagedSchema:
    return packaged_schema("freehold.adapters.postgres", "postgresql")


def test_columns_and_their_order_agree_across_the_engines(
    on_sqlite: PackagedSchema, on_postgres: PackagedSchema
) -> None:
    made = catalogue.expected(_steps(on_sqlite, "sqlite"))
    read = declared.expected(_steps(on_postgres, "postgresql"), "")
    assert _columns(made) == _columns(read)
    assert len(made.tables) > 20
    unique = {name for kind, name in made.parts if kind is Kind.INDEX and made.parts[kind, name].key}
    assert {name for kind, name in read.parts if kind is Kind.INDEX and read.parts[kind, name].key} >= unique


def test_every_port_has_its_file(on_sqlite: PackagedSchema, on_postgres: PackagedSchema) -> None:
    """But those that keep nothing of their own."""
    ports = {provision.port.name for provision in PORTS}
    assert {step.name for step in on_postgres.tables} == {step.name for step in on_sqlite.tables}
    assert {step.name for step in on_postgres.tables} <= ports
    assert on_postgres.functions.keys() <= ports


def test_each_function_is_written_once(on_postgres: PackagedSchema) -> None:
    names = [function.name for functions in on_postgres.functions.values() for function in functions]
    assert len(names) == len(set(names))
    texts = (path.read_text() for path in (_ADAPTERS / "postgres").glob("*.py"))
    used = " ".join([*texts, *on_postgres.statements("postgresql")])
    # A call that goes with the COMMIT is made of the name.
    assert [name for name in names if used.count(f"{name}(") + used.count(f'"{name}"') < 2] == []


def test_what_follows_a_function_belongs_to_it(on_postgres: PackagedSchema) -> None:
    (refresh,) = on_postgres.functions["views"]
    assert refresh.statements[1] == "REVOKE ALL ON FUNCTION freehold_view_refresh(regclass) FROM PUBLIC"


def _steps(packaged: PackagedSchema, dialect: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    tables = ((step.name, tuple(step.for_dialect(dialect))) for step in packaged.tables)
    return (("database", tuple(packaged.record)), *tables)


def _columns(made: Catalogue) -> dict[str, list[str]]:
    return {name: list(table.columns) for name, table in sorted(made.tables.items())}


def test_what_later_releases_change_is_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = tmp_path / "schema" / "changes"
    changes.mkdir(parents=True)
    (tmp_path / "schema" / "database.sql").write_text("CREATE TABLE freehold_meta (name text);\n")
    (changes / "102-more.sql").write_text(
        "-- Why.\nCREATE TABLE freehold_more (n integer);\nDROP TABLE freehold_new;\n"
    )
    (changes / "101-new.sql").write_text("CREATE TABLE freehold_new (n integer);\n")
    monkeypatch.setattr(packaged, "files", lambda _: tmp_path)
    read = packaged_schema("freehold.adapters.other", "other")
    assert [step.name for step in read.changes] == ["101-new", "102-more"]
    assert read.changes[1].for_dialect("other") == ["CREATE TABLE freehold_more (n integer)", "DROP TABLE freehold_new"]
    assert (read.tables, read.prerelease, read.functions) == ([], [], {})
