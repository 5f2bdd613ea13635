"""A migration that fails says which one it is, which statement, why, what is left, and how to go on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, DatabaseError, FreeholdError, Unavailable
from freehold.migrations import Migration
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.empty_database

_FIRST = Migration("001-thing", {"": ["CREATE TABLE thing (n integer NOT NULL, who text)"]})
_SECRET = "ann@example.org"
_SEED = f"INSERT INTO thing (n, who) VALUES (1, '{_SECRET}'), (2, '{_SECRET}')"
_MODULE = """
from freehold.migrations import Migration
from freehold.service import Service

trial = Service("trial", migrations=[
    Migration("001-thing", {"": ["CREATE TABLE thing (n integer NOT NULL)"]}),
    Migration("002-broken", {"": ["CREATE TABLE other (n integer)", "CREATE INDEX thing_x ON thing (x)"]}),
])
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/service.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


async def _failure(url: str, *statements: str) -> FreeholdError:
    stores = open_stores(url, migrations=[_FIRST, Migration("002-broken", {"": list(statements)})])
    await stores.database.open()
    try:
        with pytest.raises(FreeholdError) as raised:
            await stores.database.upgrade()
        assert await stores.database.pending() == ["service/002-broken"]
    finally:
        await stores.database.close()
    return raised.value


@pytest.mark.parametrize(
    ("statements", "number", "words", "reason"),
    [
        (["DELETE FROM thing", "CREATE INDEX thing_x ON thing (x)"], 2, "CREATE INDEX thing_x ON thing", "x"),
        (["CREATE TABEL other (n integer)"], 1, "CREATE TABEL other", "TABEL"),
        (["CREATE TABLE thing (n integer)"], 1, "CREATE TABLE thing", "already exists"),
        (["-- why\nINSERT INTO missing VALUES (1)"], 1, "INSERT INTO missing", "missing"),
        (["DROP TABLE missing"], 1, "DROP TABLE missing", "missing"),
        (["ALTER TABLE thing ADD COLUMN who text"], 1, "ALTER TABLE thing ADD COLUMN who text", "who"),
    ],
)
async def test_it_names_migration_statement_and_reason(
    url: str, statements: list[str], number: int, words: str, reason: str
) -> None:
    error = await _failure(url, *statements)
    start = f"the migration service/002-broken failed at statement {number} of {len(statements)}, {words}: "
    assert isinstance(error, DatabaseError)
    assert error.message.startswith(start)
    assert reason in error.message.removeprefix(start)
    assert re.search(r"; it was rolled back; the \d+ applied before it stay$", error.message)
    assert "freehold db upgrade" in error.hint


@pytest.mark.parametrize(
    "statements",
    [
        [_SEED, "CREATE UNIQUE INDEX thing_who ON thing (who)"],
        [_SEED, f"INSERT INTO thing (who) VALUES ('{_SECRET}')"],
        [_SEED, f"UPDATE thing SET n = NULL WHERE who = '{_SECRET}'"],
    ],
)
async def test_it_tells_no_values(url: str, statements: list[str]) -> None:
    error = await _failure(url, *statements)
    assert "at statement 2 of 2" in error.message
    assert _SECRET not in str(error)


@pytest.mark.servers
async def test_a_value_that_does_not_fit_a_new_type_is_not_told(postgres_url: str) -> None:
    error = await _failure(postgres_url, _SEED, "ALTER TABLE thing ALTER COLUMN who TYPE integer USING who::integer")
    assert "InvalidTextRepresentation" in error.message
    assert _SECRET not in str(error)


@pytest.mark.servers
async def test_what_cannot_run_in_a_transaction_says_so(postgres_url: str) -> None:
    error = await _failure(postgres_url, "CREATE INDEX CONCURRENTLY thing_n ON thing (n)")
    assert "CREATE INDEX CONCURRENTLY cannot run inside a transaction block" in error.message


@pytest.mark.servers
async def test_a_lock_that_is_not_had_is_a_conflict(postgres_url: str) -> None:
    first = open_stores(postgres_url, migrations=[_FIRST])
    await first.database.open()
    await first.database.upgrade()
    broken = Migration("002-broken", {"": ["ALTER TABLE thing ADD COLUMN more text"]})
    second = open_stores(postgres_url, DatabaseOptions(lock_timeout_seconds=0.2), migrations=[_FIRST, broken])
    await second.database.open()
    try:
        async with first.database.begin() as db_tx:
            await db_tx.native.exec_driver_sql("LOCK TABLE thing")
            with pytest.raises(ConcurrencyConflict, match="service/002-broken failed at statement 1 of 1, ALTER TABLE"):
                await second.database.upgrade()
        assert await second.database.upgrade() == ["service/002-broken"]
    finally:
        await first.database.close()
        await second.database.close()


async def test_an_outage_stays_one(tmp_path: Path) -> None:
    stores = open_stores(f"sqlite:///{tmp_path}/service.db", migrations=[_FIRST])
    await stores.database.open()
    await stores.database.upgrade()
    await stores.database.close()
    filled = Migration("002-more", {"": ["PRAGMA max_page_count = 1", *(f"CREATE TABLE t{n} (x)" for n in range(500))]})
    stores = open_stores(f"sqlite:///{tmp_path}/service.db", migrations=[_FIRST, filled])
    await stores.database.open()
    try:
        with pytest.raises(Unavailable, match=r"002-more failed at statement \d+ of 501, CREATE TABLE t\d+: .*full"):
            await stores.database.upgrade()
    finally:
        await stores.database.close()


def test_the_command_says_it_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "trial_app.py").write_text(_MODULE)
    environment = {**os.environ, "FREEHOLD_TRIAL_DATABASE": url, "FREEHOLD_APP": "trial_app"}
    done = subprocess.run(
        [sys.executable, "-m", "freehold.cli.main", "db", "upgrade", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("the migration service/002-broken failed at statement 2 of 2") == 1
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)["failed"]["trial"]
    assert told["kind"] == "DatabaseError"
    assert "CREATE INDEX thing_x ON thing" in told["message"]
