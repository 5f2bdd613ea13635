"""Files that are full or read-only on purpose: SQLite's own codes, on old and new connections, and lifted again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from freehold.runtime.adapters import open_broker
from freehold_shop.faults.limits import FileLimits
from freehold_shop.supervisor.ballast import drop_ballast, take_ballast

NOTHING: frozenset[Path] = frozenset()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileLimits]:
    monkeypatch.setattr(sqlite3, "connect", sqlite3.connect)  # what `watch` puts in its place goes after the test
    found = FileLimits()
    found.watch()
    yield found
    found.put(full=NOTHING, read_only=NOTHING)


def opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def code_of(connection: sqlite3.Connection, statement: str) -> str:
    try:
        connection.execute(statement)
    except sqlite3.Error as error:
        return error.sqlite_errorname
    return ""


def test_a_full_file_takes_no_page_more(tmp_path: Path, limits: FileLimits) -> None:
    file, other = tmp_path / "orders.db", tmp_path / "users.db"
    first, neighbour = opened(file), opened(other)
    for connection in (first, neighbour):
        connection.execute("CREATE TABLE t (a BLOB)")
    first.execute("INSERT INTO t VALUES (zeroblob(100000))")
    first.execute("DELETE FROM t")
    big = "INSERT INTO t VALUES (zeroblob(50000))"
    take_ballast(file)
    limits.put(full=frozenset({file}), read_only=NOTHING)
    second = opened(file)
    assert [code_of(each, big) for each in (first, second, neighbour)] == ["SQLITE_FULL", "SQLITE_FULL", ""]
    limits.put(full=NOTHING, read_only=NOTHING)
    assert drop_ballast(file)
    assert [code_of(each, big) for each in (first, second)] == ["", ""]
    assert first.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'shop_ballast'").fetchone() == (0,)


async def test_the_embedded_brokers_file_can_be_opened_while_it_is_full(tmp_path: Path) -> None:
    """By a service that is started again, and by commands."""
    file = tmp_path / "broker.db"
    broker = open_broker(f"embedded:///{file}")
    await broker.open()
    await broker.close()
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO setting VALUES ('t', 't', zeroblob(300000))")
        connection.execute("DELETE FROM setting WHERE prefix = 't'")
    for _ in range(2):
        take_ballast(file)
    await broker.open()
    await broker.close()

    def rows() -> tuple[int, int]:
        with sqlite3.connect(file) as connection:
            (ballast,) = connection.execute("SELECT count(*) FROM setting WHERE prefix = 'shop/ballast'").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        return ballast, free

    ballast, free = rows()
    assert (ballast > 0, free) == (True, 0)
    assert drop_ballast(file)
    ballast, free = rows()
    assert (ballast, free > 50) == (0, True)


def test_a_read_only_file_lets_nobody_begin_to_write(tmp_path: Path, limits: FileLimits) -> None:
    file = tmp_path / "orders.db"
    first = opened(file)
    first.execute("CREATE TABLE t (a BLOB)")
    limits.put(full=NOTHING, read_only=frozenset({file}))
    second = opened(file)
    assert {code_of(each, "BEGIN IMMEDIATE") for each in (first, second)} == {"SQLITE_READONLY"}
    assert code_of(second, "SELECT * FROM t") == ""
    second.close()
    limits.put(full=NOTHING, read_only=NOTHING)
    assert code_of(first, "INSERT INTO t VALUES (1)") == ""


def test_a_connection_takes_limits_over_in_the_thread_that_uses_it(tmp_path: Path, limits: FileLimits) -> None:
    """In another one they end the process, where that thread uses the connection at the same time."""
    file = tmp_path / "orders.db"
    with ThreadPoolExecutor(1) as thread:
        connection = thread.submit(lambda: sqlite3.connect(file, isolation_level=None)).result()
        limits.put(full=NOTHING, read_only=frozenset({file}))
        assert thread.submit(code_of, connection, "CREATE TABLE t (a BLOB)").result() == "SQLITE_READONLY"
        limits.put(full=NOTHING, read_only=NOTHING)
        assert thread.submit(code_of, connection, "CREATE TABLE t (a BLOB)").result() == ""
        thread.submit(connection.close).result()


def test_limits_that_could_not_be_taken_over_are_tried_again(tmp_path: Path, limits: FileLimits) -> None:
    file = tmp_path / "orders.db"
    with sqlite3.connect(file) as writer:
        writer.execute("CREATE TABLE t (a BLOB)")
    waiting = sqlite3.connect(file, isolation_level=None, timeout=0.0)
    writer.execute("BEGIN EXCLUSIVE")  # without a write-ahead log it keeps readers out as well
    limits.put(full=frozenset({file}), read_only=NOTHING)
    assert code_of(waiting, "SELECT * FROM t") == "SQLITE_BUSY"
    writer.rollback()
    assert code_of(waiting, "INSERT INTO t VALUES (zeroblob(100000))") == "SQLITE_FULL"
