"""What errors of MariaDB and its driver mean. Imports the foundation.

Texts are made of the error's number, never of the server's message: that prints the values of a row in a unique
violation. Names in the schema are taken from it where the message holds nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from freehold.errors import (
    ConcurrencyConflict,
    ConfigurationError,
    DatabaseError,
    ErrorMeaning,
    FreeholdError,
    OperationTimeout,
    PermissionDenied,
    Unavailable,
)

__all__ = ["DUPLICATE", "ENDS", "ERROR_TABLE", "number_of", "reason_of", "translate_error", "unreachable"]

DUPLICATE: Final = 1062
ENDS: Final = frozenset({1020, 1205, 1213})
"""After these a transaction is at its end: a deadlock undoes all of it, a lock timeout the statement alone."""
_RIGHTS: Final = frozenset({1142, 1143, 1227, 1370, 1410})
_ABOUT_STATEMENTS: Final = frozenset(
    {1050, 1051, 1054, 1060, 1061, 1064, 1072, 1075, 1091, 1103, 1109, 1146, 1166, 1170, 1193, 1235, 1305, 4161}
)
"""Syntax and names: the message is made of the statement's own words."""
_HINT: Final = (
    "run freehold db upgrade, and rebuilds, as a user that may create tables; grant this one what is printed by"
    " freehold db grants; freehold doctor lists the missing rights"
)
_DENIED: Final = re.compile(r"^([A-Z, ]+) command denied to user .* for (?:table|column|routine) ([\w`.$-]+)")
_LOST: Final = "the connection to MariaDB was lost"
_DUPLICATE_KEY: Final = re.compile(r" for key '([\w.]+)'$")

ERROR_TABLE: Final[Mapping[int, tuple[ErrorMeaning, str]]] = {
    3: (ErrorMeaning.OUTAGE, "the database server cannot write its files"),
    28: (ErrorMeaning.OUTAGE, "the disk is full"),
    1015: (ErrorMeaning.OUTAGE, "the database server cannot lock its files"),
    1020: (ErrorMeaning.CONFLICT, "read a row that was changed since"),
    1021: (ErrorMeaning.OUTAGE, "the disk is full"),
    1026: (ErrorMeaning.OUTAGE, "the database server cannot write its files"),
    1030: (ErrorMeaning.OUTAGE, "the storage engine failed"),
    1034: (ErrorMeaning.OUTAGE, "a table of the database is damaged"),
    1036: (ErrorMeaning.OUTAGE, "the table is read-only"),
    1037: (ErrorMeaning.OUTAGE, "the database server is out of memory"),
    1038: (ErrorMeaning.OUTAGE, "the database server is out of memory"),
    1040: (ErrorMeaning.OUTAGE, "too many connections to the database"),
    1041: (ErrorMeaning.OUTAGE, "the database server is out of memory"),
    1044: (ErrorMeaning.CONFIGURATION, "the user may not use the database"),
    1045: (ErrorMeaning.CONFIGURATION, "the user is not permitted to connect, or the password is wrong"),
    1049: (ErrorMeaning.CONFIGURATION, "the database does not exist"),
    1053: (ErrorMeaning.OUTAGE, "the database server is shutting down"),
    1105: (ErrorMeaning.OUTAGE, "the database server failed inside"),
    1114: (ErrorMeaning.OUTAGE, "the table, or the disk, is full"),
    1129: (ErrorMeaning.OUTAGE, "the database server has blocked this host"),
    1130: (ErrorMeaning.CONFIGURATION, "this host is not permitted to connect"),
    1135: (ErrorMeaning.OUTAGE, "the database server has too few threads"),
    1158: (ErrorMeaning.OUTAGE, _LOST),
    1159: (ErrorMeaning.OUTAGE, _LOST),
    1160: (ErrorMeaning.OUTAGE, _LOST),
    1161: (ErrorMeaning.OUTAGE, _LOST),
    1180: (ErrorMeaning.OUTAGE, "the commit failed, and whether it took effect is not known"),
    1194: (ErrorMeaning.OUTAGE, "a table of the database is damaged"),
    1203: (ErrorMeaning.OUTAGE, "too many connections of this user"),
    1205: (ErrorMeaning.CONFLICT, "waited for a lock longer than lock_timeout_seconds"),
    1206: (ErrorMeaning.OUTAGE, "the database server has too little memory for locks"),
    1213: (ErrorMeaning.CONFLICT, "was chosen to end a deadlock"),
    1226: (ErrorMeaning.OUTAGE, "a limit of this user is reached"),
    1290: (ErrorMeaning.OUTAGE, "the database server is read-only"),
    1317: (ErrorMeaning.OUTAGE, "an operator ended the statement"),
    1412: (ErrorMeaning.CONFLICT, "met a table that was changed since it began"),
    1615: (ErrorMeaning.CONFLICT, "met a table that was changed since it began"),
    1637: (ErrorMeaning.OUTAGE, "the database server has too many open transactions"),
    1792: (ErrorMeaning.OUTAGE, "the transaction is read-only"),
    1836: (ErrorMeaning.OUTAGE, "the database server is read-only"),
    1927: (ErrorMeaning.OUTAGE, "an operator ended the connection to the database"),
    1969: (ErrorMeaning.TIMEOUT, "a statement ran longer than statement_timeout_seconds"),
    2002: (ErrorMeaning.OUTAGE, "the database cannot be reached"),
    2003: (ErrorMeaning.OUTAGE, "the database cannot be reached"),
    2006: (ErrorMeaning.OUTAGE, _LOST),
    2013: (ErrorMeaning.OUTAGE, _LOST),
    2014: (ErrorMeaning.OUTAGE, "the connection to MariaDB is unusable"),
    2026: (ErrorMeaning.OUTAGE, "no encrypted connection to the database could be made"),
    2055: (ErrorMeaning.OUTAGE, _LOST),
    4151: (ErrorMeaning.OUTAGE, "the account of the database user is locked"),
}
"""The meaning of an error's number. All others are refusals: the statement, or what it carries, is wrong."""
_REMEDIES: Final[Mapping[int, str]] = {
    28: "make room on the disk of the server",
    1021: "make room on the disk of the server",
    1040: "end connections, or raise max_connections",
    1114: "make room on the disk of the server, or let its tablespace grow",
    1129: "FLUSH HOSTS on the server",
    1203: "end connections, or raise max_user_connections",
    1290: "is it the primary? its read_only must be OFF",
    1836: "is it the primary? its read_only must be OFF",
    4151: "ALTER USER ... ACCOUNT UNLOCK",
}


def number_of(error: BaseException) -> int | None:
    """The number of an error of asyncmy, or of SQLAlchemy over it; 0 where the client refused."""
    for link in _chain(error):
        if _home(link) == "asyncmy":
            number = link.args[0] if link.args else 0
            return number if isinstance(number, int) else 0
    return None


def translate_error(error: BaseException) -> FreeholdError | None:
    """Translate an exception of asyncmy, or of SQLAlchemy over it; None where it is neither."""
    if isinstance(error, FreeholdError):
        return None
    number = number_of(error)
    if number is not None:
        return _by_number(number, error)
    if _home(error) == "sqlalchemy":
        return DatabaseError(f"SQLAlchemy refused: {type(error).__name__}", hint="see the cause; it may hold values")
    return None


def unreachable(error: BaseException) -> FreeholdError | None:
    """Translate also what the driver lets through from the socket, for statements that are known to be Freehold's."""
    if isinstance(error, TimeoutError):
        return OperationTimeout("MariaDB did not answer in time", hint="whether it took effect is not known")
    if isinstance(error, OSError | EOFError):
        return Unavailable(f"{_LOST} ({type(error).__name__})", hint="try again")
    return translate_error(error)


def reason_of(error: BaseException) -> str:
    """The server's message for a statement of a migration, where it is made of the statement's own words and of names:
    another one may quote a row.
    """
    link: BaseException | None = error
    while link is not None:
        number = number_of(link)
        if number in _ABOUT_STATEMENTS:
            return next((str(each.args[1]) for each in _chain(link) if _home(each) == "asyncmy"), "")
        link = link.__cause__
    return ""


def _by_number(number: int, error: BaseException) -> FreeholdError:
    if number in _RIGHTS:
        return PermissionDenied(f"the database user lacks {_right(error)} ({number})", hint=_HINT)
    kind, reason = ERROR_TABLE.get(number, (ErrorMeaning.REFUSAL, ""))
    match kind:
        case ErrorMeaning.OUTAGE:
            return Unavailable(f"{reason} (MariaDB {number})", hint=_REMEDIES.get(number, "try again"))
        case ErrorMeaning.CONFLICT:
            return ConcurrencyConflict(f"the transaction {reason} ({number})", hint="try it again")
        case ErrorMeaning.TIMEOUT:
            return OperationTimeout(reason, hint="it had no effect")
        case ErrorMeaning.CONFIGURATION:
            return ConfigurationError(reason, hint="look at the database URL of this service")
        case ErrorMeaning.REFUSAL | ErrorMeaning.ANSWER:
            return _refusal(number, error)


def _right(error: BaseException) -> str:
    """The right that is missing, and on what: the server's message for it is made of names alone."""
    texts = (str(each.args[1]) for each in _chain(error) if _home(each) == "asyncmy" and len(each.args) > 1)
    found = next(filter(None, map(_DENIED.match, texts)), None)
    return f"the right {found[1]} on {found[2].replace('`', '')}" if found else "a right"


def _refusal(number: int, error: BaseException) -> FreeholdError:
    link = next(each for each in _chain(error) if _home(each) == "asyncmy")
    if number == 0:
        # The driver's own: a connection that was closed is named by its text alone.
        if type(link).__name__ in {"InterfaceError", "OperationalError", "InternalError"}:
            return Unavailable(_LOST, hint="try again")
        return DatabaseError(f"asyncmy refused: {type(link).__name__}", hint="see the cause; it may hold values")
    found = _DUPLICATE_KEY.search(str(link.args[1])) if number == DUPLICATE and len(link.args) > 1 else None
    place = f" at key '{found[1]}'" if found else ""
    return DatabaseError(f"MariaDB refused: {type(link).__name__.removesuffix('Error')}{place} ({number})")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what SQLAlchemy wraps (`orig`), and what that was raised from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and _home(current) in {"asyncmy", "sqlalchemy"}:
        seen.add(id(current))
        yield current
        current = getattr(current, "orig", None) or current.__cause__


def _home(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]
