"""Every result code of SQLite is an outage of the embedded broker's file, and none is a verdict on a message."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from freehold.adapters.embedded.errors import ERROR_TABLE, is_locked, meaning, translate_error
from freehold.errors import ErrorMeaning, Unavailable

SECRET = "ada@example.org"
CODES = sorted(
    name for name in vars(sqlite3) if name.startswith("SQLITE_") and not name.startswith(("SQLITE_LIMIT", "SQLITE_OK"))
)


def _error(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError(SECRET)
    error.sqlite_errorcode = int(getattr(sqlite3, name, 1))
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize("name", ERROR_TABLE)
def test_each_row_of_the_table(name: str, tmp_path: Path) -> None:
    kind, reason, hint = ERROR_TABLE[name]
    assert kind is ErrorMeaning.OUTAGE
    known = translate_error(_error(name), tmp_path / "broker.db")
    assert type(known) is Unavailable
    assert known.message == f"the broker's file {reason} ({name})"
    assert known.hint == hint
    assert SECRET not in str(known)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SQLITE_BUSY_TO_COME", "locked by another process"),
        ("SQLITE_LOCKED_SHAREDCACHE", "locked by another connection"),
        ("SQLITE_FULL_TO_COME", "the disk is full"),
        ("SQLITE_READONLY_ROLLBACK", "is read-only"),
        ("SQLITE_IOERR_SHORT_READ", "cannot be read or written"),
        ("SQLITE_CANTOPEN_SYMLINK", "cannot be opened"),
        ("SQLITE_CORRUPT_INDEX", "is damaged"),
        ("SQLITE_ERROR_SNAPSHOT", "does not have the tables"),
        ("SQLITE_CONSTRAINT_PRIMARYKEY", "does not have the tables"),
        ("SQLITE_TO_COME", "cannot be used now"),
        ("", "cannot be used now"),
    ],
)
def test_an_unknown_code_means_what_its_class_does_and_of_no_class_an_outage(name: str, reason: str) -> None:
    kind, said, hint = meaning(name)
    assert kind is ErrorMeaning.OUTAGE
    assert reason in said
    assert hint


@pytest.mark.parametrize("name", CODES)
def test_every_code_that_python_knows_is_an_outage(name: str, tmp_path: Path) -> None:
    assert isinstance(translate_error(_error(name), tmp_path / "broker.db"), Unavailable)


def test_what_carries_no_code_is_an_outage(tmp_path: Path) -> None:
    for error in (sqlite3.ProgrammingError(SECRET), sqlite3.DatabaseError(SECRET), MemoryError()):
        known = translate_error(error, tmp_path / "broker.db")
        assert isinstance(known, Unavailable)
        assert SECRET not in str(known)
    assert "out of memory" in str(translate_error(MemoryError(), tmp_path))


def test_only_a_lock_is_waited_for() -> None:
    assert is_locked(_error("SQLITE_BUSY_TIMEOUT"))
    assert is_locked(_error("SQLITE_LOCKED"))
    assert not is_locked(_error("SQLITE_IOERR_LOCK"))


def test_why_a_file_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = _error("SQLITE_CANTOPEN")
    assert "in a directory that does not exist" in str(translate_error(error, tmp_path / "gone" / "broker.db"))
    assert "is a directory" in str(translate_error(error, tmp_path))
    assert "cannot be opened (" in str(translate_error(error, tmp_path / "broker.db"))

    def refused(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refused)
    assert "no file descriptor is free" in str(translate_error(error, tmp_path / "broker.db"))
