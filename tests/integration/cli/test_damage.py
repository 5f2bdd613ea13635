"""`freehold db status` and `upgrade` on a database that was damaged: named, mended, or told what to restore; and how a
service starts on it.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from tests.unit.cli.typing_in import Typed, typist

from freehold import RunningService, Service, Settings
from freehold.errors import DatabaseError
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

pytestmark = pytest.mark.empty_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def typed(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FREEHOLD_LEDGER_DATABASE", url)
    monkeypatch.setenv("FREEHOLD_BROKER", f"embedded:///{tmp_path}/broker.db")
    monkeypatch.setenv("FREEHOLD_APP", "tests.integration.cli.ledger")
    typed = typist(capsys)
    assert typed("db", "upgrade").code == 0
    assert typed("db", "status").code == 0
    return typed


async def _do(url: str, *statements: str) -> None:
    stores = open_stores(url)
    await stores.database.open()
    async with stores[SQL].direct() as sql:
        for statement in statements:
            await sql.execute(statement)
    await stores.database.close()


def _damage(url: str, *statements: str) -> None:
    asyncio.run(_do(url, *statements))


def test_what_loses_nothing_is_made_again(typed: Typed, url: str) -> None:
    view = "TABLE" if url.startswith("sqlite") else "MATERIALIZED VIEW"
    drops = ("INDEX freehold_saga_key", f"{view} totals", "VIEW balance", "TABLE freehold_snapshot")
    _damage(url, *(f"DROP {each}" for each in drops))
    status = typed("db", "status")
    assert status.code == 1
    for what in ("index freehold_saga_key", "view balance of projection balances", "materialized view totals"):
        assert f"ledger: {what} is missing" in status.out
    found = typed("db", "status", "--json").document["defects"]["ledger"]
    assert len(found) == 4
    assert all(each["lossless"] for each in found)
    assert "!! schema: " in typed("doctor").out
    upgraded = typed("db", "upgrade", "--json")
    assert upgraded.code == 0
    assert set(upgraded.document["repaired"]["ledger"]) == {each["subject"] for each in found}
    assert upgraded.document["defects"] == {"ledger": []}
    assert typed("db", "status").code == 0
    assert "ok schema: as the migrations made it" in typed("doctor").out


def test_a_table_that_held_data_is_told_and_not_made_again(typed: Typed, url: str) -> None:
    _damage(url, "DROP TABLE freehold_outbox", "DROP INDEX freehold_saga_key")
    for command in ("status", "upgrade"):
        told = typed("db", command)
        assert told.code == 1
        (named,) = (each for each in told.out.splitlines() if "table freehold_outbox is missing" in each)
        assert named.startswith("ledger: table freehold_outbox is missing (made by freehold/outbox): ")
        assert "restore freehold_outbox from a backup, then run freehold db upgrade" in named
    left = typed("db", "status", "--json").document["defects"]["ledger"]
    assert {each["subject"] for each in left} >= {"table freehold_outbox"}
    assert "index freehold_saga_key" not in {each["subject"] for each in left}
    doctor = typed("doctor")
    assert doctor.code == 1
    assert "restore freehold_outbox from a backup" in doctor.out


def test_a_constraint_that_rows_are_against_is_told_with_their_number(typed: Typed, url: str) -> None:
    if url.startswith("sqlite"):
        return  # it changes no table that is there
    twice = "INSERT INTO freehold_lease (name) VALUES ('twice'), ('twice')"
    _damage(url, "ALTER TABLE freehold_lease DROP CONSTRAINT freehold_lease_pkey", twice)
    for command in ("status", "upgrade"):
        told = typed("db", command)
        assert told.code == 1
        assert "ledger: primary key (name) of freehold_lease is missing (made by " in told.out
        assert "2 rows violate it: correct them (SELECT " in told.out


def test_a_read_model_that_is_gone_is_rebuilt(typed: Typed, url: str) -> None:
    _damage(url, f"DROP TABLE balance__g1{'' if url.startswith('sqlite') else ' CASCADE'}")
    told = typed("db", "upgrade")
    assert told.code == 1
    assert "table balance__g1 of projection balances is missing" in told.out
    assert "freehold projection rebuild balances makes it again from the events" in told.out


def test_without_the_record_it_says_what_to_restore(typed: Typed, url: str) -> None:
    _damage(url, "DROP TABLE freehold_migration")
    for command in ("status", "upgrade"):
        told = typed("db", command, "--json")
        assert told.code == 1
        assert told.document["failed"]["ledger"]["hint"].startswith("restore freehold_migration from a backup")


@pytest.mark.parametrize("upgrade", [True, False])
async def test_a_service_does_not_start_on_it(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, upgrade: bool
) -> None:
    def ledger() -> RunningService:
        broker = f"embedded:///{tmp_path}/broker.db"
        settings = Settings.load("ledger", environ={}, database=url, broker=broker, migrate_on_start=upgrade)
        return RunningService(Service("ledger"), settings, roles=())

    stores = open_stores(url)
    await stores.database.open()
    await stores.database.upgrade("ledger")
    await _do(url, "DROP INDEX freehold_saga_key")
    with caplog.at_level(logging.WARNING, "freehold"):
        async with ledger():
            pass
    assert "index freehold_saga_key" in caplog.text
    assert [each.subject for each in await stores.database.defects()] == ["index freehold_saga_key"][upgrade:]
    await stores.database.close()
    await _do(url, "DROP TABLE freehold_dead_letter")
    with pytest.raises(DatabaseError, match=r"damaged schema: table freehold_dead_letter is missing.*from a backup"):
        await ledger().start()
