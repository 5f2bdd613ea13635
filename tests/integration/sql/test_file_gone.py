"""A SQLite database's file is deleted, replaced or moved while a service has it open.

It is an outage with its reason, nothing is confirmed that went into a file that is gone, and all goes on once the file
is put back.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.integration.looking import STATS_MAX, in_stats
from tests.integration.sql.test_errors import OPTIONS, insert, opened

from freehold.errors import Unavailable
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "a.db"


@pytest.fixture
async def stores(path: Path) -> AsyncIterator[Stores]:
    stores = await opened(f"sqlite:///{path}")
    await stores.database.upgrade("orders")
    yield stores
    await stores.database.close()


async def _write(stores: Stores, email: str) -> None:
    async with stores.database.begin() as db_tx:
        await insert(db_tx, email)


async def _people(stores: Stores) -> set[str]:
    async with stores.database.begin() as db_tx:
        return set((await db_tx.native.execute(sa.text("SELECT email FROM people"))).scalars())


async def _is_away(stores: Stores, reason: str) -> None:
    """Whatever is tried is an outage that says what happened."""

    async def direct() -> None:
        async with stores[SQL].direct() as sql:
            await sql.execute("INSERT INTO people (email) VALUES ('lost@b')")

    attempts: list[Callable[[], Awaitable[None]]] = [
        lambda: _write(stores, "lost@b"),
        direct,
        lambda: stores.database.ping(5.0),
    ]
    for attempt in attempts:
        for _ in range(2):
            with pytest.raises(Unavailable, match=reason) as caught:
                await attempt()
            assert "put the file back" in caught.value.hint or "to its place" in caught.value.hint


def _delete(path: Path) -> None:
    path.unlink()


def _delete_all(path: Path) -> None:
    for each in path.parent.glob("a.db*"):
        each.unlink()


def _delete_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def _truncate(path: Path) -> None:
    path.write_bytes(b"")


def _replace_by_empty(path: Path) -> None:
    path.unlink()
    path.touch()


def _replace_by_stranger(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


@pytest.mark.parametrize(
    ("lose", "reason"),
    [
        (_delete, "its file was deleted or moved while it was open"),
        (_delete_all, "its file was deleted or moved while it was open"),
        (_delete_directory, "its file was deleted or moved while it was open"),
        (_truncate, "its file was emptied while it was open"),
        (_replace_by_empty, "its file was emptied while it was open"),
        (_replace_by_stranger, "replaced by one that is not this service's database"),
    ],
)
async def test_a_file_that_is_gone_is_an_outage_until_a_copy_is_put_back(
    lose: Callable[[Path], None], reason: str, path: Path, stores: Stores, tmp_path: Path
) -> None:
    await _write(stores, "before@b")
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(backup)) as target:
        connection.backup(target)
    await _write(stores, "after-the-backup@b")
    lose(path)
    await _is_away(stores, reason)
    path.parent.mkdir(exist_ok=True)
    backup.replace(path)
    assert await _people(stores) == {"before@b"}
    for number in range(20):
        await _write(stores, f"{number}@b")
    assert len(await _people(stores)) == 21
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (21,)


async def test_a_copy_of_another_service_s_database_is_refused(path: Path, stores: Stores, tmp_path: Path) -> None:
    other = await opened(f"sqlite:///{tmp_path}/other.db")
    await other.database.upgrade("payments")
    await other.database.close()
    (tmp_path / "other.db").replace(path)
    await _is_away(stores, "not this service's database")


@pytest.mark.parametrize("together", [False, True])
async def test_a_file_that_is_moved_away_and_back_has_lost_nothing(
    together: bool, path: Path, stores: Stores, tmp_path: Path
) -> None:
    await _write(stores, "before@b")
    names = sorted(each.name for each in path.parent.glob("a.db*")) if together else ["a.db"]
    for name in names:
        (path.parent / name).rename(tmp_path / name)
    await _is_away(stores, "deleted or moved")
    for name in reversed(names):
        (tmp_path / name).rename(path.parent / name)
    await _write(stores, "after@b")
    assert await _people(stores) == {"before@b", "after@b"}


async def test_a_commit_into_a_file_that_is_gone_is_not_confirmed(path: Path, stores: Stores) -> None:
    with pytest.raises(Unavailable, match="did not keep what was committed: its file was deleted"):
        async with stores.database.begin() as db_tx:
            await insert(db_tx, "lost@b")
            path.unlink()
    await _is_away(stores, "deleted or moved")


@pytest.mark.parametrize("names", [["a.db-wal"], ["a.db-shm"], ["a.db-wal", "a.db-shm"]])
async def test_without_its_wal_or_shm_nothing_is_lost(names: list[str], path: Path, stores: Stores) -> None:
    for number in range(20):
        await _write(stores, f"{number}@b")
    for name in names:
        (path.parent / name).unlink()
    for number in range(20, 25):
        await _write(stores, f"{number}@b")
    assert len(await _people(stores)) == 25
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (25,)


async def test_while_another_process_has_a_deleted_wal_it_is_an_outage(path: Path, stores: Stores) -> None:
    await _write(stores, "before@b")
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM people").fetchone()
        for name in ("a.db-wal", "a.db-shm"):
            (path.parent / name).unlink()
        await _is_away(stores, "-wal or -shm")
    assert await _people(stores) == {"before@b"}
    await _write(stores, "after@b")


async def test_a_database_that_shrinks_is_the_same(path: Path, stores: Stores) -> None:
    for number in range(50):
        await _write(stores, f"{number}{'x' * 3000}@b")
    async with stores[SQL].direct() as sql:
        await sql.execute("DELETE FROM people")
        await sql.execute("VACUUM")
        await sql.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
    await _write(stores, "after@b")
    assert await _people(stores) == {"after@b"}


async def test_who_opens_a_file_anew_may_make_it(path: Path) -> None:
    stores = await opened(f"sqlite:///{path}")
    await stores.database.close()
    _delete_all(path)
    await stores.database.open()
    await stores.database.ping(5.0)
    await stores.database.close()
    assert path.exists()


async def test_a_link_to_the_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    stores = open_stores(f"sqlite:///{tmp_path}/link.db", OPTIONS)
    await stores.database.open()
    for _ in range(3):
        await stores.database.ping(5.0)
    assert not (tmp_path / "link.db-wal").exists()
    path.unlink()
    with pytest.raises(Unavailable, match="deleted or moved"):
        await stores.database.ping(5.0)
    await stores.database.close()


async def test_a_look_at_the_file_costs_a_few_microseconds(stores: Stores, path: Path) -> None:
    await _write(stores, "a@b")
    pooled = await stores.database._check_out()  # type: ignore[attr-defined] # what each transaction begins with
    assert in_stats(pooled.sql.check, path) < STATS_MAX
    await stores.database._give(pooled)  # type: ignore[attr-defined] # as above
