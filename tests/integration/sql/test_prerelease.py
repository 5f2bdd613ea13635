"""A database from before the first release: from whichever step it has reached, it becomes what a new one is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.sql.schema_catalogue import postgres_catalogue, sqlite_catalogue

from freehold.adapters.sql.engine.packaged import PackagedSchema, packaged_schema
from freehold.errors import DatabaseError
from freehold.migrations import Migration
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import sql_of

pytestmark = pytest.mark.empty_database
_DIALECTS = {"sqlite": "sqlite", "postgres": "postgresql"}


class Place:
    """An empty database of one engine, and Freehold's schema there."""

    def __init__(self, technology: str, url: str, path: Path) -> None:
        self.technology = technology
        self.url = url
        self.path = path
        self.packaged = packaged_schema(f"freehold.adapters.{technology}", _DIALECTS[technology])

    async def make(self, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bring it as far as so many steps of before the first release, as they did it then."""
        then = replace(self.packaged, tables=self.packaged.prerelease[:steps], functions={}, prerelease=[])
        await self.upgrade(then, monkeypatch)

    async def upgrade(self, packaged: PackagedSchema, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Upgrade it to another schema than that of this release."""
        with monkeypatch.context() as patched:
            patched.setattr(f"freehold.adapters.{self.technology}.database.packaged_schema", lambda *_: packaged)
            stores = open_stores(self.url)
        await stores.database.open()
        try:
            return await stores.database.upgrade()
        finally:
            await stores.database.close()

    def catalogue(self) -> Mapping[str, str]:
        """What is in it."""
        return sqlite_catalogue(self.path) if self.technology == "sqlite" else postgres_catalogue(self.url)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place("sqlite", f"sqlite:///{tmp_path}/old.db", tmp_path / "old.db")
    return Place("postgres", request.getfixturevalue("postgres_url"), tmp_path)


@pytest.fixture
async def newly_made(place: Place, tmp_path: Path, request: pytest.FixtureRequest) -> Mapping[str, str]:
    """What a new database of this release holds."""
    if place.technology == "postgres":
        stores = open_stores(place.url)
        await _upgraded(stores)
        found = postgres_catalogue(place.url)
        await _emptied(place.url)
        return found
    await _upgraded(open_stores(f"sqlite:///{tmp_path}/new.db"))
    return sqlite_catalogue(tmp_path / "new.db")


@pytest.mark.parametrize("part", [0, 1, 2, 3])
async def test_a_database_of_any_step_becomes_what_a_new_one_is(
    place: Place, newly_made: Mapping[str, str], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step only, a third of them, the commit that the issue names, and all."""
    steps = len(place.packaged.prerelease) - 1
    await place.make([1, steps // 3, steps - 9, steps][part], monkeypatch)
    stores = open_stores(place.url)
    await stores.database.open()
    assert await stores.database.defects() == []
    waiting = await stores.database.pending()
    assert "freehold/040-first-release" in waiting
    assert await stores.database.upgrade() == waiting
    assert await stores.database.pending() == []
    assert await stores.database.upgrade() == []
    assert await stores.database.defects() == []
    await stores.database.close()
    assert place.catalogue() == newly_made


async def test_what_later_releases_change_comes_behind_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a database that skips releases, for one that does not, and for a new one."""
    statements = {"": ["ALTER TABLE freehold_outbox_watermark ADD COLUMN note integer"]}
    later = replace(place.packaged, changes=[Migration("101-note", statements)])
    await place.make(len(place.packaged.prerelease) - 5, monkeypatch)
    labels = await place.upgrade(later, monkeypatch)
    assert labels.index("freehold/040-first-release") < labels.index("freehold/101-note")
    assert await place.upgrade(later, monkeypatch) == []
    assert await place.upgrade(place.packaged, monkeypatch) == [], "a process of the release before starts once more"


async def test_two_that_upgrade_it_at_once_do_it_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.make(len(place.packaged.prerelease) - 5, monkeypatch)
    both = [open_stores(place.url) for _ in range(2)]
    for stores in both:
        await stores.database.open()
    applied = await asyncio.gather(*(stores.database.upgrade() for stores in both))
    labels = [label for each in applied for label in each]
    assert len(labels) == len(set(labels))
    assert await both[0].database.defects() == []
    for stores in both:
        await stores.database.close()


async def test_the_last_step_is_done_whole_or_not_at_all(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    *before, last = place.packaged.prerelease
    dialect = _DIALECTS[place.technology]
    broken = replace(last, statements={dialect: [*last.for_dialect(dialect), "INSERT INTO nowhere VALUES (1)"]})
    await place.make(len(before), monkeypatch)
    with pytest.raises(DatabaseError, match=r"040-first-release failed at statement .* INSERT INTO nowhere"):
        await place.upgrade(replace(place.packaged, prerelease=[*before, broken]), monkeypatch)
    stores = open_stores(place.url)
    await stores.database.open()
    assert (await stores.database.pending())[0] == "freehold/040-first-release"
    assert await stores.database.defects() == []
    await stores.database.upgrade()
    assert await stores.database.defects() == []
    await stores.database.close()


async def test_a_process_of_before_refuses_what_was_upgraded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows none of the steps on record, and stops at the first table that is there."""
    await _upgraded(open_stores(place.url))
    before = place.catalogue()
    with pytest.raises(DatabaseError, match="001-outbox failed at statement 1"):
        await place.make(3, monkeypatch)
    assert place.catalogue() == before


async def _upgraded(stores: Stores) -> None:
    await stores.database.open()
    await stores.database.upgrade()
    await stores.database.close()


async def _emptied(url: str) -> None:
    stores = open_stores(url)
    await stores.database.open()
    async with stores.database.begin() as db_tx:
        await sql_of(db_tx).execute("DROP SCHEMA public CASCADE")
        await sql_of(db_tx).execute("CREATE SCHEMA public")
    await stores.database.close()
