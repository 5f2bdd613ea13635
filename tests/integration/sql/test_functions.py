"""Functions of PostgreSQL are applied by their digests: what has changed, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest

from freehold.adapters.sql.engine import schema
from freehold.adapters.sql.engine.packaged import PackagedSchema, SqlFunction, packaged_schema
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.servers
_HEAD, _COUNT = "freehold_event_head", "freehold_event_count"
_NEW = "CREATE OR REPLACE FUNCTION freehold_event_head() RETURNS bigint LANGUAGE sql AS $$ SELECT 42 $$"
_OTHER = "CREATE OR REPLACE FUNCTION freehold_event_head(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT 43 $$"


class Releases:
    """Releases that differ in their functions, on one database."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        self._monkeypatch = monkeypatch
        self._packaged = packaged_schema("freehold.adapters.postgres", "postgresql")

    async def upgrade(
        self, version: str = "0.1.0", *, head: Sequence[str] | None = None, more: Sequence[SqlFunction] = ()
    ) -> list[str]:
        """Upgrade as a release does that has this function for the head of events, none for an empty one."""
        stores = open_stores(self.url)
        with self._monkeypatch.context() as patched:
            patched.setattr("freehold.adapters.postgres.database.packaged_schema", lambda *_: self._with(head, more))
            patched.setattr(schema, "__version__", version)
            stores = open_stores(self.url)
            await stores.database.open()
            pending = await stores.database.pending()
            assert await stores.database.upgrade() == pending
            assert await stores.database.pending() == []
            assert await stores.database.defects() == []
        await stores.database.close()
        return pending

    def _with(self, head: Sequence[str] | None, more: Sequence[SqlFunction]) -> PackagedSchema:
        events = [each for each in self._packaged.functions["events"] if each.name != _HEAD or head is None]
        events += [SqlFunction(_HEAD, head)] if head else []
        return replace(self._packaged, functions={**self._packaged.functions, "events": [*events, *more]})

    def found(self) -> dict[str, tuple[int, str, str]]:
        """Each function's number, the transaction that wrote it last, and its rights."""
        columns = "oid::regprocedure, oid, xmin::text, coalesce(proacl::text, '')"
        sql = f"SELECT {columns} FROM pg_proc WHERE proname LIKE 'freehold%'"
        with psycopg.connect(self.url) as connection:
            return {str(name): (oid, xmin, acl) for name, oid, xmin, acl in connection.execute(sql)}

    def run(self, sql: str) -> object:
        """A statement, and the first value of what it gives."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql)
            row = cursor.fetchone() if cursor.description else None
            return None if row is None else row[0]


@pytest.fixture
async def releases(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Releases:
    made = Releases(postgres_url, monkeypatch)
    await made.upgrade()
    return made


async def test_what_has_changed_is_replaced_and_all_else_is_left_alone(releases: Releases) -> None:
    releases.run(f"REVOKE ALL ON FUNCTION {_HEAD}() FROM PUBLIC")
    before = releases.found()
    assert await releases.upgrade() == []
    assert releases.found() == before
    assert await releases.upgrade(head=[_NEW]) == ["freehold/functions/events"]
    after = releases.found()
    assert releases.run(f"SELECT {_HEAD}()") == 42
    assert {name for name in before if before[name] != after[name]} == {f"{_HEAD}()"}
    number, _, rights = after[f"{_HEAD}()"]
    assert (number, rights) == (before[f"{_HEAD}()"][0], before[f"{_HEAD}()"][2]), (
        "processes and grants see the same one"
    )
    assert await releases.upgrade(head=[_NEW]) == []


async def test_an_older_release_leaves_what_a_newer_one_has_made(releases: Releases) -> None:
    """A rolling upgrade, in which a process of the release before starts once more."""
    second = SqlFunction("freehold_event_head_2", [_NEW.replace("_head()", "_head_2()")])
    assert await releases.upgrade("0.10.0", head=[_NEW], more=[second]) == ["freehold/functions/events"]
    newer = releases.found()
    assert await releases.upgrade("0.9.0") == []
    assert releases.found() == newer
    assert await releases.upgrade("0.11.0", head=(), more=[second]) == ["freehold/functions/dropped"]
    assert f"{_HEAD}()" not in releases.found()
    assert await releases.upgrade("0.10.0", head=[_NEW], more=[second]) == []


async def test_other_parameters_take_the_place_of_those_before(releases: Releases) -> None:
    await releases.upgrade(head=[_OTHER])
    assert {name for name in releases.found() if _HEAD in name} == {f"{_HEAD}(integer)"}
    assert releases.run(f"SELECT {_HEAD}(1)") == 43


async def test_what_a_lost_record_leaves_unknown_is_applied_again(releases: Releases) -> None:
    releases.run("DROP TABLE freehold_object")
    labels = await releases.upgrade()
    assert "freehold/functions/events" in labels
    assert {label.partition("/functions/")[1] for label in labels} == {"/functions/"}
    assert releases.run(f"SELECT count(*) FROM freehold_object WHERE name = '{_COUNT}'") == 1
