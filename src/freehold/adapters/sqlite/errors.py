"""Translates errors of SQLite. Imports the foundation.

Messages contain SQLite's result code and, for a constraint, the names that it prints. They contain no other text of
SQLite: that of a trigger or a syntax error may quote a value.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Final

from freehold.errors import (
    ConcurrencyConflict,
    DatabaseError,
    ErrorMeaning,
    FreeholdError,
    OperationTimeout,
    Unavailable,
)

__all__ = ["ERROR_TABLE", "meaning", "reason_of", "translate_error"]

_CLOSED: Final = ("no active connection", "connection closed")
_NAMED_CONSTRAINT: Final = re.compile(r"^(?:UNIQUE|NOT NULL) constraint failed: ([\w., ]+)$")
_ROOM: Final = "make room on the disk"
_LOOK: Final = "is the disk full, or was the directory deleted?"

ERROR_TABLE: Final[Mapping[str, tuple[ErrorMeaning, str, str]]] = {
    "SQLITE_BUSY": (ErrorMeaning.OUTAGE, "the database is locked by another process", "keep transactions short"),
    "SQLITE_BUSY_SNAPSHOT": (ErrorMeaning.CONFLICT, "another writer was first", "retry"),
    "SQLITE_BUSY_RECOVERY": (ErrorMeaning.OUTAGE, "another process is recovering the database", "try again"),
    "SQLITE_LOCKED": (ErrorMeaning.CONFLICT, "the table is locked by another connection", "retry"),
    "SQLITE_SCHEMA": (ErrorMeaning.CONFLICT, "the schema changed under a statement", "retry"),
    "SQLITE_INTERRUPT": (
        ErrorMeaning.TIMEOUT,
        "a statement ran longer than statement_timeout_seconds",
        "it had no effect",
    ),
    "SQLITE_FULL": (ErrorMeaning.OUTAGE, "the disk is full", _ROOM),
    "SQLITE_READONLY": (ErrorMeaning.OUTAGE, "the database is read-only", "restore the permission to write the file"),
    "SQLITE_READONLY_DBMOVED": (
        ErrorMeaning.OUTAGE,
        "the database's file was moved or deleted",
        "put it back, and restart",
    ),
    "SQLITE_CANTOPEN": (ErrorMeaning.OUTAGE, "the database's file cannot be opened", _LOOK),
    "SQLITE_PERM": (ErrorMeaning.OUTAGE, "access to the database's file is denied", "check its permissions"),
    "SQLITE_IOERR": (ErrorMeaning.OUTAGE, "the database's file cannot be read or written", _LOOK),
    "SQLITE_NOMEM": (ErrorMeaning.OUTAGE, "the process is out of memory", "try again"),
    "SQLITE_PROTOCOL": (ErrorMeaning.OUTAGE, "the database's file could not be locked", "try again"),
    "SQLITE_NOLFS": (ErrorMeaning.OUTAGE, "the database's file system cannot hold a larger file", _ROOM),
    "SQLITE_CORRUPT": (ErrorMeaning.OUTAGE, "the database is damaged", "restore it from a backup"),
    "SQLITE_NOTADB": (ErrorMeaning.OUTAGE, "the database's file is no SQLite database", "restore it from a backup"),
}
"""Meaning, message and hint by the name of a result code; the longest prefix that ends before a `_` counts. All other
codes are refusals: the statement or its parameters are wrong.
"""


def meaning(name: str) -> tuple[ErrorMeaning, str, str]:
    """The meaning, message and hint of a result code."""
    while name:
        if name in ERROR_TABLE:
            return ERROR_TABLE[name]
        name = name.rpartition("_")[0]
    return ErrorMeaning.REFUSAL, "", ""


def reason_of(error: BaseException) -> str:
    """SQLite's message for a failed statement of a migration, where it is about the statement or the schema.

    Otherwise empty: the message of a constraint or a trigger may quote values.
    """
    link: BaseException | None = error
    while link is not None and not isinstance(link, sqlite3.Error | sqlite3.Warning):
        link = link.__cause__
    if link is None or getattr(link, "sqlite_errorname", "SQLITE_ERROR") != "SQLITE_ERROR":
        return ""
    return str(link)


def translate_error(error: BaseException) -> FreeholdError | None:
    """Translate an exception of sqlite3, aiosqlite, or SQLAlchemy with them; None for any other exception."""
    if isinstance(error, FreeholdError):
        return None
    origin: BaseException = getattr(error, "orig", None) or error
    if not isinstance(origin, sqlite3.Error):
        origin = origin.__cause__ if isinstance(origin.__cause__, sqlite3.Error) else origin
    if isinstance(origin, ValueError) and str(origin).lower() in _CLOSED:
        return Unavailable("the SQLite connection was closed", hint="try again")
    if isinstance(origin, sqlite3.Error):
        return _by_code(origin)
    if type(error).__module__.partition(".")[0] == "sqlalchemy":
        return DatabaseError(f"SQLAlchemy failed: {type(error).__name__}", hint="see the cause; it may contain values")
    return None


def _by_code(error: sqlite3.Error) -> FreeholdError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        if str(error).lower() in _CLOSED:
            return Unavailable("the SQLite connection was closed", hint="try again")
        return DatabaseError(f"sqlite3 failed: {type(error).__name__}", hint="see the cause; it may contain values")
    kind, reason, hint = meaning(error.sqlite_errorname)
    match kind:
        case ErrorMeaning.OUTAGE:
            return Unavailable(f"{reason} ({error.sqlite_errorname})", hint=hint)
        case ErrorMeaning.CONFLICT:
            return ConcurrencyConflict(f"{reason} ({error.sqlite_errorname})", hint=hint)
        case ErrorMeaning.TIMEOUT:
            return OperationTimeout(reason, hint=hint)
        case ErrorMeaning.REFUSAL | ErrorMeaning.CONFIGURATION | ErrorMeaning.ANSWER:
            named = _NAMED_CONSTRAINT.match(str(error))
            place = f" at {named.group(1)}" if named else ""
            return DatabaseError(f"SQLite refused: {error.sqlite_errorname}{place}")
