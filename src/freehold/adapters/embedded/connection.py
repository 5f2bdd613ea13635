"""Connections to the broker's file, and its tables. Adapter: standard library, errors, ids, and its package.

Processes share the file; with SQLite's WAL one can write while all read. A process that is frozen in the middle of a
write blocks the others until it continues or is killed. Therefore writes are short.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from freehold.adapters.embedded.errors import is_locked
from freehold.errors import ConfigurationError, Unavailable
from freehold.ids import new_id

__all__ = ["FileOptions", "Prepared", "begin", "connect", "prepare", "read_epoch", "read_log_id", "read_past", "rebind"]

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
_TABLES: Final = frozenset({"message", "progress", "member", "setting"})
_TABLES_SQL: Final = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
_NAMES: Final = frozenset(statement.partition(" IF NOT EXISTS ")[2].split()[0] for statement in _SCHEMA)
_SETTINGS_SQL: Final = "SELECT prefix, name, value FROM setting WHERE prefix IN ('', ?)"
_PUT_SQL: Final = """
INSERT INTO setting VALUES ('', ?, ?) ON CONFLICT (prefix, name) DO UPDATE SET value = excluded.value
"""
_PAST_SQL: Final = "SELECT name, value FROM setting WHERE prefix = '' AND name IN ('reason', 'made_at')"
_SPIN_SECONDS: Final = 0.0005
_SPIN_SECONDS_MAX: Final = 0.004


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The path of the file, its durability, and its size.

    power_safe     each commit is flushed to the disk (`synchronous=FULL`).
    keep_messages  above this number, the oldest messages that every group of their topic has passed are deleted before
                   the end of their retention.
    """

    path: Path
    power_safe: bool = True
    keep_messages: int = 200_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared file.

    log         the id of its log.
    epoch       the id that positions and tokens belong to; another one in a restored copy of the same log.
    partitions  the number of partitions of the prefix.
    """

    log: str
    epoch: str
    partitions: int


def connect(file: FileOptions, limit_seconds: float) -> sqlite3.Connection:
    """Open a connection in autocommit mode. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(file.path, isolation_level=None, timeout=limit_seconds, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {'FULL' if file.power_safe else 'NORMAL'}")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    connection.execute("PRAGMA cache_size = -8192")
    return connection


def prepare(
    connection: sqlite3.Connection, inode: int, prefix: str, partitions: int, limit_seconds: float, reason: str
) -> Prepared:
    """Create missing tables and settings. `reason` says what has happened to the file before.

    A file whose inode is not the recorded one is a copy. Its log gets a new id, because the original may have continued
    under the old one. Where nothing is missing, nothing is written, so the file can be opened and read while another
    process has it locked. Raises `ConfigurationError` for a file that does not belong to a broker, `sqlite3.Error`.
    """
    tables = {name for (name,) in connection.execute(_TABLES_SQL)}
    if "freehold_meta" in tables:
        raise ConfigurationError(
            "the broker's file is the database of a service", hint="give the broker a file of its own"
        )
    if tables - _TABLES:
        raise ConfigurationError(
            "the broker's file is the database of another program", hint="give the broker a file of its own"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    known = _prepared(connection, inode, prefix)
    if known is not None:
        return known
    connection.execute("PRAGMA busy_timeout = 0")
    begin(connection, limit_seconds)
    for statement in _SCHEMA:
        connection.execute(statement)
    _setting(connection, "", "format", _FORMAT)
    mine = str(new_id())
    log = _setting(connection, "", "log", mine)
    epoch = _setting(connection, "", "epoch", mine)
    kept = int(_setting(connection, prefix, "partitions", str(partitions)))
    if _setting(connection, "", "inode", str(inode)) != str(inode):
        log = epoch = mine
        connection.executemany(_PUT_SQL, [("log", log), ("epoch", epoch), ("inode", str(inode))])
        reason = reason or "its file is a copy of another one"
    if log == mine and reason:
        connection.executemany(_PUT_SQL, [("reason", reason), ("made_at", str(time.time()))])
    connection.execute("COMMIT")
    connection.execute(f"PRAGMA busy_timeout = {int(limit_seconds * 1000)}")
    return Prepared(log, epoch, kept)


def _prepared(connection: sqlite3.Connection, inode: int, prefix: str) -> Prepared | None:
    """The prepared file, where nothing is missing and it is not a copy; otherwise None."""
    if _NAMES - {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}:
        return None
    found = {(of, name): str(value) for of, name, value in connection.execute(_SETTINGS_SQL, (prefix,))}
    wanted = [("", "log"), ("", "epoch"), (prefix, "partitions"), ("", "format")]
    if found.get(("", "inode")) != str(inode) or any(each not in found for each in wanted):
        return None
    return Prepared(found["", "log"], found["", "epoch"], int(found[prefix, "partitions"]))


def rebind(connection: sqlite3.Connection, inode: int) -> None:
    """Make this copy continue the log of its original. It gets a new epoch: the last messages that a consumer has read
    in the original may be missing in the copy, which gives their numbers to other messages.
    """
    connection.executemany(_PUT_SQL, [("inode", str(inode)), ("epoch", str(new_id()))])


def read_past(connection: sqlite3.Connection) -> tuple[str, float]:
    """Why the log in this file replaced an earlier one (empty where it did not), and when, as a Unix time."""
    found = dict(
        connection.execute("SELECT name, value FROM setting WHERE prefix = '' AND name IN ('reason', 'made_at')")
    )
    return str(found.get("reason", "")), float(found.get("made_at", 0.0))


def read_log_id(connection: sqlite3.Connection) -> str:
    """Return the random id of the log in this file. Raises `sqlite3.Error`, `Unavailable`."""
    return _read_setting(connection, "log")


def read_epoch(connection: sqlite3.Connection) -> str:
    """Return the id that positions and tokens in this file belong to. Raises `sqlite3.Error`, `Unavailable`."""
    return _read_setting(connection, "epoch")


def begin(connection: sqlite3.Connection, limit_seconds: float) -> None:
    """Begin to write; waits for other processes. SQLite's own wait sleeps up to 100 ms at a time, which is too long."""
    deadline = time.monotonic() + limit_seconds
    pause_seconds = _SPIN_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() >= deadline:
                raise
        time.sleep(pause_seconds)  # a file lock sends no signal; runs in a thread, with a time limit
        pause_seconds = min(pause_seconds * 1.5, _SPIN_SECONDS_MAX)


def _read_setting(connection: sqlite3.Connection, name: str) -> str:
    found = connection.execute("SELECT value FROM setting WHERE prefix = '' AND name = ?", (name,)).fetchone()
    if found is None:
        raise Unavailable(f"the broker's file has no {name}", hint="open the broker again, which writes it")
    return str(found[0])


def _setting(connection: sqlite3.Connection, prefix: str, name: str, value: str) -> str:
    connection.execute("INSERT INTO setting VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (prefix, name, value))
    (stored,) = connection.execute("SELECT value FROM setting WHERE prefix = ? AND name = ?", (prefix, name)).fetchone()
    return str(stored)
