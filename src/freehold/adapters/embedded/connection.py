"""The broker's file: how it is opened and what is in it. Adapter: standard library and errors only.

The file is shared by processes; SQLite's WAL lets one write while all read. A process frozen in the middle of a write
holds the others up until it goes on or is killed: writes are kept short for that.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from freehold.errors import BrokerError, ConfigurationError, FreeholdError, Unavailable

__all__ = ["FileOptions", "begin", "connect", "diagnose", "prepare"]

_FORMAT: Final = "1"
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS message (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        part INTEGER NOT NULL,
        id BLOB NOT NULL,
        stored_at REAL NOT NULL,
        document BLOB NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS message_by_place ON message (topic, part, seq)",
    """CREATE TABLE IF NOT EXISTS progress (
        group_name TEXT NOT NULL,
        topic TEXT NOT NULL,
        part INTEGER NOT NULL,
        owner TEXT NOT NULL,
        token INTEGER NOT NULL,
        position INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        PRIMARY KEY (group_name, topic, part)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS progress_by_place ON progress (topic, part)",
    """CREATE TABLE IF NOT EXISTS member (
        group_name TEXT NOT NULL,
        id TEXT NOT NULL,
        beat INTEGER NOT NULL,
        topics TEXT NOT NULL,
        PRIMARY KEY (group_name, id)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS setting (
        prefix TEXT NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (prefix, name)
    ) WITHOUT ROWID""",
)
_SPIN_SECONDS: Final = 0.0005
_SPIN_SECONDS_MAX: Final = 0.004


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Where the file is, and how careful it is.

    power_safe     each commit is flushed to the disk (`synchronous=FULL`).
    keep_messages  above this number, the oldest that every group of their topic has passed are removed before their
                   retention is over.
    """

    path: Path
    power_safe: bool = True
    keep_messages: int = 200_000


def connect(file: FileOptions, limit_seconds: float) -> sqlite3.Connection:
    """Open a connection that begins and commits by itself nothing. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(file.path, isolation_level=None, timeout=limit_seconds, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {'FULL' if file.power_safe else 'NORMAL'}")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    connection.execute("PRAGMA cache_size = -8192")
    return connection


def prepare(file: FileOptions, prefix: str, partitions: int, limit_seconds: float) -> int:
    """Make the file and its tables; return the number of partitions that this prefix was first used with.

    Raises `Unavailable` where there is no directory for it, `ConfigurationError` for a file that is none of ours,
    `sqlite3.Error`.
    """
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"the directory of the broker's file cannot be made: {error.strerror}", hint="check FREEHOLD_BROKER"
        ) from error
    connection = connect(file, limit_seconds)
    try:
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'freehold_meta'").fetchone():
            raise ConfigurationError(
                "the broker's file is the database of a service", hint="give the broker a file of its own"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA busy_timeout = 0")
        begin(connection, limit_seconds)
        for statement in _SCHEMA:
            connection.execute(statement)
        _setting(connection, "", "format", _FORMAT)
        stored = _setting(connection, prefix, "partitions", str(partitions))
        connection.execute("COMMIT")
    finally:
        connection.close()
    return int(stored)


def begin(connection: sqlite3.Connection, limit_seconds: float) -> None:
    """Begin to write, waiting for other processes. SQLite's own waiting sleeps up to 100 ms at a time: too coarse."""
    deadline = time.monotonic() + limit_seconds
    pause_seconds = _SPIN_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, _SPIN_SECONDS_MAX)


def diagnose(error: sqlite3.Error) -> FreeholdError:
    """Translate an error of SQLite; the text holds no values."""
    if _is_busy(error):
        return Unavailable("the broker's file is locked by another process", hint="find a process that is frozen")
    if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return Unavailable(
            f"the broker's file cannot be used just now ({_name(error)})", hint="check disk space and permissions"
        )
    return BrokerError(f"the broker's file is damaged ({_name(error)})", hint="restore it, or begin with a new one")


def _is_busy(error: sqlite3.Error) -> bool:
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _name(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def _setting(connection: sqlite3.Connection, prefix: str, name: str, value: str) -> str:
    connection.execute("INSERT INTO setting VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (prefix, name, value))
    (stored,) = connection.execute("SELECT value FROM setting WHERE prefix = ? AND name = ?", (prefix, name)).fetchone()
    return str(stored)
