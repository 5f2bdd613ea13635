"""What a database was asked to do, counted below the library: `Counters` of each engine. Imports the wire and drivers.

statements  SQLite: its own trace of what it carries out. PostgreSQL: what the server answers on the wire. MariaDB: the
            queries on the wire. BEGIN and COMMIT are among them, what a function of the database does inside is not.
trips       waits for an answer of the server. A file has none.
commits     transactions that wrote something and were flushed to disk. SQLite: the commit records of its `-wal`;
            PostgreSQL: the transactions that logical decoding finds in its log; MariaDB: InnoDB's own count.
"""

from __future__ import annotations

import asyncio
import sqlite3
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg
from tests.ledger.wire import MariaDbReader, PostgresReader, Wire, wire
from tests.mariadb import run_on

__all__ = ["Counters", "on_mariadb", "on_postgres", "on_sqlite"]

_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_SLOT: Final = "ledger"
_COMMITS: Final = "trx_commits_insert_update"


class Counters(Protocol):
    """What counts on one database."""

    url: str
    """Where the counted database is."""

    def begin(self) -> None:
        """Count from here on."""

    def end(self) -> Mapping[str, int]:
        """What was counted since."""


class _Traced(sqlite3.Connection):
    """A connection that tells of each statement, whoever else wants to be told."""

    heard: Callable[[str], None] = staticmethod(lambda _sql: None)

    def set_trace_callback(self, trace_callback: Any, /) -> None:
        """Tell both."""

        def both(sql: str) -> None:
            self.heard(sql)
            if trace_callback is not None:
                trace_callback(sql)

        super().set_trace_callback(both)


class _OnSqlite:
    """Counts on one file."""

    def __init__(self, file: Path) -> None:
        self.url = f"sqlite:///{file}"
        self._file = file
        self._statements = 0

    def connect(self, original: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        """A `sqlite3.connect` whose connections to the file are counted."""

        def connect(database: str, *args: Any, **kwargs: Any) -> sqlite3.Connection:
            if self._file.name not in str(database):
                return original(database, *args, **kwargs)
            connection = original(database, *args, factory=_Traced, **kwargs)
            assert isinstance(connection, _Traced)
            connection.heard = self._heard
            connection.set_trace_callback(None)
            return connection

        return connect

    def begin(self) -> None:
        """Begin with an empty `-wal`."""
        connection = sqlite3.connect(self._file)
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.close()
        assert not busy, "somebody reads while nothing should be in progress"
        self._statements = 0

    def end(self) -> Mapping[str, int]:
        """Statements and commits."""
        return {"statements": self._statements, "commits": _commits(self._file.with_name(self._file.name + "-wal"))}

    def _heard(self, _sql: str) -> None:
        self._statements += 1


def _commits(wal: Path) -> int:
    """How many frames of a `-wal` end a transaction: those that name the size of the database."""
    content = wal.read_bytes() if wal.exists() else b""
    if not content:
        return 0
    (page_bytes,) = struct.unpack_from("!I", content, 8)
    salts, commits = content[16:24], 0
    for at in range(_WAL_HEADER_BYTES, len(content), _FRAME_HEADER_BYTES + page_bytes):
        if content[at + 8 : at + 16] != salts:
            break
        commits += content[at + 4 : at + 8] != b"\0\0\0\0"
    return commits


@asynccontextmanager
async def on_sqlite(directory: Path) -> AsyncIterator[Counters]:
    """Count on a file that is made in the directory."""
    counters = _OnSqlite(directory / "counted.db")
    with patch.object(sqlite3, "connect", counters.connect(sqlite3.connect)):
        yield counters


class _OnPostgres:
    """Counts on one database of a server."""

    def __init__(self, url: str, counted: Wire, beside: psycopg.Connection[Any]) -> None:
        self.url = url
        self._wire = counted
        self._beside = beside
        self._from = (0, 0)

    def begin(self) -> None:
        """Pass over what is in the log."""
        self._commits()
        self._from = (self._wire.statements, self._wire.trips)

    def end(self) -> Mapping[str, int]:
        """Statements, round trips and commits."""
        statements, trips = self._wire.statements - self._from[0], self._wire.trips - self._from[1]
        return {"statements": statements, "trips": trips, "commits": self._commits()}

    def _commits(self) -> int:
        found = self._beside.execute(
            "SELECT count(*) FROM pg_logical_slot_get_changes(%s, NULL, NULL, 'skip-empty-xacts', 'on')"
            " WHERE data LIKE 'COMMIT%%'",
            (_SLOT + self._beside.info.dbname,),
        ).fetchone()
        return int(found[0]) if found else 0


@asynccontextmanager
async def on_postgres(url: str) -> AsyncIterator[Counters]:
    """Count on an empty database, which is reached through a proxy. It needs `wal_level=logical`."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with psycopg.connect(url, autocommit=True) as beside:
        slot = _SLOT + beside.info.dbname
        beside.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", (slot,))
        try:
            async with wire(parts.hostname, parts.port, PostgresReader) as (port, counted):
                login = parts.netloc.rpartition("@")[0]
                yield _OnPostgres(parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl(), counted, beside)
        finally:
            beside.execute("SELECT pg_drop_replication_slot(%s)", (slot,))


class _OnMariaDb:
    """Counts on one server, which does nothing else meanwhile."""

    def __init__(self, url: str, counted: Wire, beside: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self.url = url
        self._wire = counted
        self._beside = beside
        self._from = (0, 0, 0)

    def begin(self) -> None:
        """Count from here on."""
        self._from = (self._wire.statements, self._wire.trips, self._commits())

    def end(self) -> Mapping[str, int]:
        """Statements, round trips and commits."""
        statements, trips, commits = self._from
        return {
            "statements": self._wire.statements - statements,
            "trips": self._wire.trips - trips,
            "commits": self._commits() - commits,
        }

    def _commits(self) -> int:
        return int(self._beside(f"SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = '{_COMMITS}'")[0][0])


@asynccontextmanager
async def on_mariadb(url: str) -> AsyncIterator[Counters]:
    """Count on a database without rows, which is reached through a proxy."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with ThreadPoolExecutor(1, "mariadb") as apart:

        def beside(statement: str) -> list[tuple[Any, ...]]:
            return apart.submit(asyncio.run, run_on(url, statement)).result()

        # The statistics of tables are written by transactions of the server's own, at times of its own: when a table is
        # opened for the first time, and when a part of it has changed.
        beside("SET GLOBAL innodb_stats_persistent = OFF, innodb_stats_auto_recalc = OFF")
        beside(f"SET GLOBAL innodb_monitor_enable = {_COMMITS}")
        try:
            async with wire(parts.hostname, parts.port, MariaDbReader) as (port, counted):
                login = parts.netloc.rpartition("@")[0]
                yield _OnMariaDb(parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl(), counted, beside)
        finally:
            beside(f"SET GLOBAL innodb_monitor_disable = {_COMMITS}")
            beside("SET GLOBAL innodb_stats_persistent = ON, innodb_stats_auto_recalc = ON")
