"""What errors of SQLite mean. Imports the foundation.

Texts are made of SQLite's result code and, for a constraint, of the names it prints; never of other text, in which a
trigger or a syntax error may quote a value.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from freehold.errors import ConcurrencyConflict, DatabaseError, FreeholdError, OperationTimeout, Unavailable

__all__ = ["diagnose"]

_CLOSED: Final = ("no active connection", "connection closed")
_NAMED_CONSTRAINT: Final = re.compile(r"^(?:UNIQUE|NOT NULL) constraint failed: ([\w., ]+)$")
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_SCHEMA})
_UNAVAILABLE: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)


def diagnose(error: BaseException) -> FreeholdError | None:
    """Translate an exception of sqlite3, aiosqlite, or SQLAlchemy over them; None where it is none of them."""
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
        return DatabaseError(f"SQLAlchemy refused: {type(error).__name__}", hint="see the cause; it may hold values")
    return None


def _by_code(error: sqlite3.Error) -> FreeholdError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        if str(error).lower() in _CLOSED:
            return Unavailable("the SQLite connection was closed", hint="try again")
        return DatabaseError(f"sqlite3 refused: {type(error).__name__}", hint="see the cause; it may hold values")
    primary = code & 0xFF
    if primary in _BUSY:
        return ConcurrencyConflict(f"the database is locked by another writer ({error.sqlite_errorname})", hint="retry")
    if primary == sqlite3.SQLITE_INTERRUPT:
        return OperationTimeout("a statement ran longer than statement_timeout_seconds", hint="it had no effect")
    if primary in _UNAVAILABLE:
        return Unavailable(
            f"SQLite cannot serve now ({error.sqlite_errorname})", hint="is the disk full, or the directory gone?"
        )
    named = _NAMED_CONSTRAINT.match(str(error))
    place = f" at {named.group(1)}" if named else ""
    return DatabaseError(f"SQLite refused: {error.sqlite_errorname}{place}")
