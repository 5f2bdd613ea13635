"""Every result code of SQLite that is known, and others: as the driver raises it, and through SQLAlchemy."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy.exc

from freehold.adapters.sqlite.errors import ERROR_TABLE, meaning, translate_error
from freehold.errors import (
    ConcurrencyConflict,
    DatabaseError,
    ErrorMeaning,
    FreeholdError,
    OperationTimeout,
    Unavailable,
)

KINDS: dict[ErrorMeaning, type[FreeholdError]] = {
    ErrorMeaning.OUTAGE: Unavailable,
    ErrorMeaning.TIMEOUT: OperationTimeout,
    ErrorMeaning.CONFLICT: ConcurrencyConflict,
    ErrorMeaning.REFUSAL: DatabaseError,
}
SECRET = "ada@example.org"


def _errors(name: str) -> list[Exception]:
    error = sqlite3.OperationalError(SECRET)
    error.sqlite_errorcode = int(getattr(sqlite3, name, 1))
    error.sqlite_errorname = name
    return [error, sqlalchemy.exc.OperationalError("SELECT 1", None, error)]


@pytest.mark.parametrize("name", ERROR_TABLE)
def test_each_row_of_the_table(name: str) -> None:
    kind, reason, hint = ERROR_TABLE[name]
    for error in _errors(name):
        known = translate_error(error)
        assert type(known) is KINDS[kind]
        assert reason in str(known)
        assert known.hint == hint
        assert SECRET not in str(known)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SQLITE_IOERR_WRITE", ErrorMeaning.OUTAGE),
        ("SQLITE_READONLY_DIRECTORY", ErrorMeaning.OUTAGE),
        ("SQLITE_CANTOPEN_ISDIR", ErrorMeaning.OUTAGE),
        ("SQLITE_LOCKED_SHAREDCACHE", ErrorMeaning.CONFLICT),
        ("SQLITE_BUSY_TO_COME", ErrorMeaning.OUTAGE),
        ("SQLITE_CORRUPT_INDEX", ErrorMeaning.OUTAGE),
        ("SQLITE_CONSTRAINT_UNIQUE", ErrorMeaning.REFUSAL),
        ("SQLITE_TOOBIG", ErrorMeaning.REFUSAL),
        ("SQLITE_ERROR", ErrorMeaning.REFUSAL),
        ("SQLITE_TO_COME", ErrorMeaning.REFUSAL),
    ],
)
def test_a_code_that_is_not_in_the_table_means_what_its_class_does(name: str, kind: ErrorMeaning) -> None:
    assert meaning(name)[0] is kind
    assert all(type(translate_error(error)) is KINDS[kind] for error in _errors(name))
