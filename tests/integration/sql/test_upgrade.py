"""Migrations: by several processes at once, in order, and not changed afterwards."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from freehold.database import DatabaseOptions
from freehold.errors import ConfigurationError, DatabaseError
from freehold.migrations import Migration
from freehold.outbox.store import OUTBOX
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.empty_database
# Two suffice for a race, and a start of Python takes seconds on a busy machine.
_PROCESSES = 2
_LIMIT_SECONDS = 110
_UPGRADE = """
import asyncio, sys
from freehold.runtime.adapters import open_stores
async def main():
    stores = open_stores(sys.argv[1])
    await stores.database.open()
    print("ready", flush=True)
    sys.stdin.readline()
    print(len(await stores.database.upgrade()))
    await stores.database.close()
asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/service.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


async def test_several_processes_apply_each_step_once(url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _UPGRADE, url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(_PROCESSES)
    ]
    async with asyncio.timeout(_LIMIT_SECONDS):
        for each in processes:
            assert each.stdout is not None
            assert await each.stdout.readline() == b"ready\n"
        outputs = await asyncio.gather(*(each.communicate(b"go\n") for each in processes))
    assert [each.returncode for each in processes] == [0] * _PROCESSES
    stores = open_stores(url)
    await stores.database.open()
    assert await stores.database.pending() == []
    assert sum(int(output) for output, _ in outputs) >= 8
    await stores.database.close()


async def test_the_services_steps_come_after_freeholds(url: str) -> None:
    steps = [Migration("002-index", {"": ["CREATE INDEX thing_n ON thing (n)"]}), _table("integer")]
    stores = open_stores(url, migrations=steps)
    await stores.database.open()
    applied = await stores.database.upgrade()
    assert applied[-2:] == ["service/001-thing", "service/002-index"]
    assert all(name.startswith("freehold/") for name in applied[:-2])
    await stores.database.close()


async def test_a_step_that_fails_leaves_nothing_and_can_be_mended(url: str) -> None:
    broken = Migration("001-thing", {"": ["CREATE TABLE thing (n integer)", "INSERT INTO missing VALUES (1)"]})
    stores = open_stores(url, migrations=[broken])
    await stores.database.open()
    with pytest.raises(DatabaseError):
        await stores.database.upgrade()
    assert await stores.database.pending() == ["service/001-thing"]
    await stores.database.close()
    mended = open_stores(url, migrations=[_table("integer")])
    await mended.database.open()
    assert await mended.database.upgrade() == ["service/001-thing"]
    await mended.database.close()


async def test_a_step_that_was_changed_after_it_was_applied_is_refused(url: str) -> None:
    before = open_stores(url, migrations=[_table("integer")])
    await before.database.open()
    await before.database.upgrade()
    await before.database.close()
    after = open_stores(url, migrations=[_table("text")])
    await after.database.open()
    with pytest.raises(ConfigurationError, match="changed"):
        await after.database.upgrade()
    await after.database.close()


async def test_the_number_of_partitions_is_that_of_the_first_upgrade(url: str) -> None:
    first = open_stores(url, DatabaseOptions(partitions=5))
    await first.database.open()
    await first.database.upgrade()
    await first.database.close()
    second = open_stores(url, DatabaseOptions(partitions=9))
    await second.database.open()
    assert second[OUTBOX].partitions == 5
    await second.database.close()


def test_a_step_without_statements_for_the_engine_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no statements"):
        open_stores(url, migrations=[Migration("001-thing", {"oracle": ["SELECT 1"]})])


def _table(type: str) -> Migration:
    return Migration("001-thing", {"": [f"CREATE TABLE thing (n {type})"]})
