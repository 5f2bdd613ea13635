"""Reading without being able to change, and comparing in bounded memory."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa

from freehold.errors import ConfigurationError, DatabaseError, Unavailable
from freehold_shop.verify.readers import can_write, open_reader, postgres_dsn
from freehold_shop.verify.scratch import EXAMPLES_MAX, Scratch


@pytest.fixture
def url(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", ((n,) for n in range(5_000)))
    return f"sqlite:///{tmp_path / 'a.db'}"


def test_rows_come_in_pages_of_one_snapshot(url: str, tmp_path: Path) -> None:
    with open_reader(url) as reader:
        rows = reader.rows("SELECT x FROM t ORDER BY x")
        assert next(rows) == (0,)
        with sqlite3.connect(tmp_path / "a.db") as writer:
            writer.execute("DELETE FROM t")
        assert sum(1 for _ in rows) == 4_999


def test_nothing_can_be_written(url: str) -> None:
    with open_reader(url) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        list(reader.rows("DELETE FROM t RETURNING x"))


def test_a_database_that_is_not_there_is_unavailable_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable), open_reader(f"sqlite:///{tmp_path / 'none.db'}"):
        pass
    assert not (tmp_path / "none.db").exists()


def test_what_the_engine_says_names_the_service_and_its_reason(url: str, tmp_path: Path) -> None:
    with (
        pytest.raises(DatabaseError, match=r"^orders: SQLite refused: SQLITE_ERROR \(freehold db status"),
        open_reader(url, "orders") as reader,
    ):
        list(reader.rows("SELECT x FROM gone"))
    (tmp_path / "garbage.db").write_bytes(b"no database at all" * 1000)
    garbage = f"sqlite:///{tmp_path / 'garbage.db'}"
    with (
        pytest.raises(Unavailable, match=r"^orders: the database's file is no SQLite database"),
        open_reader(garbage, "orders") as reader,
    ):
        list(reader.rows("SELECT 1 FROM t"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        away = f"postgresql://nobody@127.0.0.1:{bound.getsockname()[1]}/x"
        with (
            pytest.raises(Unavailable, match=r"^orders: the database cannot be reached: connection refused"),
            open_reader(away, "orders"),
        ):
            pass


@pytest.mark.servers
def test_a_server_that_takes_no_more_connections_is_told_so(postgres_url: str) -> None:
    role = f"role_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 0".encode())
        theirs = sa.make_url(postgres_url).set(username=role, password="x").render_as_string(hide_password=False)
        with pytest.raises(Unavailable, match=r"^orders: too many connections"), open_reader(theirs, "orders"):
            pass
        admin.execute(f"DROP ROLE {role}".encode())


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="oracle"), open_reader("oracle://x/y"):
        pass


def test_a_driver_in_the_url_is_left_out_for_libpq() -> None:
    assert postgres_dsn("postgresql+asyncpg://u:p@h:1/d") == "postgresql://u:p@h:1/d"
    assert postgres_dsn("postgres://u:p@h:1/d?statement_cache_size=0&sslmode=require&schema=orders") == (
        "postgresql://u:p@h:1/d?sslmode=require"
    )


def test_the_write_lock_is_given_back(url: str) -> None:
    assert can_write(url) is None
    assert can_write(url) is None


def test_a_check_counts_all_and_names_the_first_few() -> None:
    with Scratch() as scratch:
        scratch.script("CREATE TABLE t (id TEXT)")
        scratch.load("INSERT INTO t VALUES (?)", ((f"id{n}",) for n in range(100)))
        failed = scratch.check("few", "there is nothing", "SELECT id, 'is' FROM t")
        held = scratch.check("none", "there is nothing", "SELECT id FROM t WHERE 0")
    assert not failed.ok
    assert failed.detail.startswith("100 violations of: there is nothing. id0 is; id1 is")
    assert failed.detail.count(" is;") == EXAMPLES_MAX
    assert (held.ok, held.detail) == (True, "there is nothing")
