"""What may keep a database from being written, for real: each is a context that makes it so and takes it back.

A condition takes the URL of a database whose tables have been made. Those on SQLite need a file on a file system of
their own, which only root can mount: `small_disk` is left out elsewhere, with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

__all__ = ["CONDITIONS", "TABLE", "Condition", "grow", "held", "small_disk", "tablespace"]

Condition = Callable[[str], contextlib.AbstractContextManager[None]]

_HOLDER: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("CREATE TABLE IF NOT EXISTS held (a)")
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.asynccontextmanager
async def held(condition: Condition, url: str) -> AsyncIterator[None]:
    """A condition beside a service of this process: a lock that is waited for must not keep its loop from giving it up.

    One thread makes it so and takes it back, as SQLite's connections want it.
    """
    loop, context = asyncio.get_running_loop(), condition(url)
    with ThreadPoolExecutor(1, "condition") as thread:
        await loop.run_in_executor(thread, context.__enter__)
        try:
            yield
        finally:
            await loop.run_in_executor(thread, partial(context.__exit__, None, None, None))


@contextlib.contextmanager
def small_disk(place: Path, size: str = "8m") -> Iterator[Path]:
    """A file system of this size at a directory."""
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", place], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this user may not mount a small file system: a disk that is full is not tried")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@contextlib.contextmanager
def _full_disk(url: str) -> Iterator[None]:
    filler = file_of(url).with_name("filler")
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(65536))
    yield
    filler.unlink()


@contextlib.contextmanager
def tablespace(url: str, directory: Path) -> Iterator[str]:
    """A database in a tablespace on a small disk of its own, on the server of this one; `directory` is the server's."""
    name = f"small_{uuid4().hex[:8]}"
    with small_disk(directory / name, "32m") as place, psycopg.connect(url, autocommit=True) as admin:
        shutil.chown(place, *_owner_of_data(admin))
        admin.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(name), str(place)))
        admin.execute(sql.SQL("CREATE DATABASE {0} TABLESPACE {0}").format(sql.Identifier(name)))
        try:
            yield f"{url.rpartition('/')[0]}/{name}"
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            admin.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(name)))


def _owner_of_data(admin: psycopg.Connection[Any]) -> tuple[int, int]:
    row = admin.execute("SELECT current_setting('data_directory')").fetchone()
    assert row is not None
    found = Path(row[0]).stat()
    return found.st_uid, found.st_gid


@contextlib.contextmanager
def _full_tablespace(url: str) -> Iterator[None]:
    """A row needs no room, and is written; a temporary file is not."""
    with psycopg.connect(url, autocommit=True) as admin:
        row = admin.execute(
            "SELECT pg_tablespace_location(dattablespace) FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    filler = Path(row[0], "filler")
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    yield
    filler.unlink()


@contextlib.contextmanager
def _read_only_disk(url: str) -> Iterator[None]:
    """Read-only for whoever opens the file from now on; what is open already is not taken away."""
    place = file_of(url).parent
    subprocess.run(["mount", "--bind", place, place], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextlib.contextmanager
def _holding(url: str, how: str, *, frozen: bool = False) -> Iterator[None]:
    """Another process in the middle of a write."""
    command = [sys.executable, "-c", _HOLDER, str(file_of(url)), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        if frozen:
            os.kill(holder.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            holder.kill()


@contextlib.contextmanager
def _table_locked(url: str, table: str, mode: str) -> Iterator[None]:
    with psycopg.connect(url, application_name="stray") as other:
        other.execute("CREATE TABLE IF NOT EXISTS own_table (a integer)")
        other.commit()
        other.execute(f"LOCK TABLE {table} IN {mode} MODE")
        yield


@contextlib.contextmanager
def _read_only_database(url: str) -> Iterator[None]:
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        yield
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


CONDITIONS: Final[dict[str, tuple[str, Condition, str]]] = {
    "full disk": ("disk", _full_disk, "the disk is full"),
    "full tablespace": ("tablespace", _full_tablespace, "the disk is full"),
    "read-only disk": ("disk", _read_only_disk, "read-only"),
    "file locked": ("sqlite", lambda url: _holding(url, "BEGIN IMMEDIATE"), "locked by another process"),
    "file locked for everything": ("sqlite", lambda url: _holding(url, "BEGIN EXCLUSIVE"), "locked by another process"),
    "writer frozen": ("sqlite", lambda url: _holding(url, "BEGIN IMMEDIATE", frozen=True), "locked by another process"),
    "outbox locked": (
        "postgres",
        lambda url: _table_locked(url, "freehold_outbox", "ACCESS EXCLUSIVE"),
        "the table freehold_outbox is locked by another session",
    ),
    "leases locked": (
        "postgres",
        lambda url: _table_locked(url, "freehold_lease", "SHARE"),
        "the table freehold_lease is locked by another session",
    ),
    "table of the service's own locked": (
        "postgres",
        lambda url: _table_locked(url, "own_table", "ACCESS EXCLUSIVE"),
        "the table own_table is locked by another session",
    ),
    "read-only server": ("postgres", _read_only_database, "the database is read-only"),
}
"""By name: the engine, the condition, and what its reason says."""
TABLE: Final = [
    pytest.param(
        engine, condition, reason, id=name, marks=[pytest.mark.servers] if engine in {"postgres", "tablespace"} else []
    )
    for name, (engine, condition, reason) in CONDITIONS.items()
]


def grow(url: str) -> None:
    """Let SQLite's journal have room of its own: later writes need no new one, and a full disk is not seen by them."""
    with contextlib.closing(sqlite3.connect(file_of(url))) as connection:
        connection.execute("CREATE TABLE grown AS SELECT hex(zeroblob(200000)) AS a")
        connection.execute("DROP TABLE grown")
        connection.commit()
