"""Translates errors of PostgreSQL and its drivers. Imports the foundation.

Messages contain the SQLSTATE and names of the schema. They do not contain the server's message: it quotes values of a
row for a unique violation, and parameters for other errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import asyncpg

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

__all__ = [
    "BEHIND_A_PROXY",
    "ERROR_TABLE",
    "TRY_AGAIN",
    "diagnose_connecting",
    "meaning",
    "never_carried_out",
    "reason_of",
    "translate_error",
    "unreachable",
    "without_query",
]

TRY_AGAIN: Final = "try again; also the end of a transaction that was idle longer than idle_transaction_timeout_seconds"
"""The hint for a lost connection: asyncpg often finds it closed, and cannot tell why."""
BEHIND_A_PROXY: Final = (
    "behind PgBouncer, or another proxy that pools transactions, write ?statement_cache_size=0 into the database URL,"
    " and no options"
)
_NO_RIGHT: Final = "42501"
_NO_RIGHT_ON: Final = re.compile(r"(?:permission denied for|must be owner of) ([a-z ]+) ([\w$.\"]+)").fullmatch
_RIGHTS: Final = (
    "as the owner of the tables run freehold db upgrade, which creates what run time needs, and the statements of"
    " freehold db grants; freehold doctor lists the missing rights"
)
_ENDED_IDLE: Final = "25P03"
_LOST_STATEMENTS: Final = ("26000", "42P05")
_REFUSED_AT_START: Final = "unsupported startup parameter"
_ABOUT_STATEMENTS: Final = ("42", "0A", "25001", "2BP01", "3F000")
"""Syntax, names and rights; not supported; not within a transaction; other objects depend on it; no such schema."""
_UNSENT: Final = ("cannot switch to state", "not connected")

ERROR_TABLE: Final[Mapping[str, tuple[ErrorMeaning, str]]] = {
    "08": (ErrorMeaning.OUTAGE, "the connection to the database failed"),
    "08P01": (ErrorMeaning.OUTAGE, "a protocol error on the connection to the database"),
    "25006": (ErrorMeaning.OUTAGE, "the database is read-only"),
    _ENDED_IDLE: (
        ErrorMeaning.OUTAGE,
        "the transaction was idle longer than idle_transaction_timeout_seconds, and was rolled back",
    ),
    "25P04": (ErrorMeaning.OUTAGE, "the transaction ran longer than the server's transaction_timeout"),
    "26000": (ErrorMeaning.CONFIGURATION, "a prepared statement was lost after its transaction"),
    "28": (ErrorMeaning.CONFIGURATION, "the role is not permitted to connect"),
    "28P01": (ErrorMeaning.CONFIGURATION, "the password is wrong"),
    "3D000": (ErrorMeaning.CONFIGURATION, "the database does not exist"),
    "40": (ErrorMeaning.CONFLICT, "was rolled back by the server"),
    "40001": (ErrorMeaning.CONFLICT, "could not be serialised with a concurrent transaction"),
    "40002": (ErrorMeaning.REFUSAL, "a constraint does not hold at the end of the transaction"),
    "40003": (ErrorMeaning.OUTAGE, "whether the statement was completed is not known"),
    "40P01": (ErrorMeaning.CONFLICT, "was rolled back to end a deadlock"),
    "42P05": (ErrorMeaning.CONFIGURATION, "a prepared statement of another client is still there"),
    "53": (ErrorMeaning.OUTAGE, "the database server has too few resources"),
    "53100": (ErrorMeaning.OUTAGE, "the disk is full"),
    "53200": (ErrorMeaning.OUTAGE, "the database server is out of memory"),
    "53300": (ErrorMeaning.OUTAGE, "too many connections to the database"),
    "53400": (ErrorMeaning.OUTAGE, "a limit in the configuration of the database server is reached"),
    "55P03": (ErrorMeaning.CONFLICT, "waited for a lock longer than lock_timeout_seconds"),
    "57014": (ErrorMeaning.TIMEOUT, "a statement ran longer than statement_timeout_seconds"),
    "57P": (ErrorMeaning.OUTAGE, "an operator ended the connection to the database"),
    "57P01": (ErrorMeaning.OUTAGE, "the database server is shutting down, or an operator ended the connection"),
    "57P02": (ErrorMeaning.OUTAGE, "another process of the database server crashed"),
    "57P03": (ErrorMeaning.OUTAGE, "the database server is starting, stopping or in recovery"),
    "57P04": (ErrorMeaning.OUTAGE, "the database was dropped"),
    "57P05": (ErrorMeaning.OUTAGE, "the session was idle longer than the server's idle_session_timeout"),
    "58": (ErrorMeaning.OUTAGE, "the operating system of the database server reported an error"),
    "58030": (ErrorMeaning.OUTAGE, "the database server cannot read or write its files"),
    "58P01": (ErrorMeaning.OUTAGE, "a file of the database server is missing"),
    "72": (ErrorMeaning.CONFLICT, "read a snapshot that is too old"),
    "F0": (ErrorMeaning.OUTAGE, "the configuration file of the database server is wrong"),
    "HV00N": (ErrorMeaning.OUTAGE, "a foreign server cannot be reached"),
    "XX": (ErrorMeaning.OUTAGE, "an internal error of the database server"),
    "XX001": (ErrorMeaning.OUTAGE, "a table of the database is damaged"),
    "XX002": (ErrorMeaning.OUTAGE, "an index of the database is damaged"),
}
"""Meaning and message by SQLSTATE; the longest prefix in this table counts. All others are refusals: the statement or
its parameters are wrong.
"""
_REFUSED_CONNECTIONS: Final[Mapping[str, str]] = {
    "42501": "the role may not connect to the database",
    "55000": "the database does not accept connections",
}
"""Messages for errors of a new connection; for a statement these codes are refusals."""
_REMEDIES: Final[Mapping[str, str]] = {
    "25006": "is it the primary? its default_transaction_read_only must be off",
    "42501": "GRANT CONNECT ON DATABASE to the role",
    "53100": "make room on the disk of the server",
    "53300": "end connections, or raise max_connections, or the role's CONNECTION LIMIT",
    "55000": "ALTER DATABASE with ALLOW_CONNECTIONS true",
}
"""The hint for an outage that an operator must end. Others end by themselves, or the message says what to do."""


def translate_error(error: BaseException) -> FreeholdError | None:
    """Translate an exception of asyncpg, psycopg, or SQLAlchemy with them; None for any other exception."""
    if isinstance(error, FreeholdError):
        return None
    for link in reversed(list(_chain(error))):  # the innermost error has the names of the schema
        state = getattr(link, "sqlstate", None)
        if isinstance(link, asyncpg.InvalidCachedStatementError):
            return ConcurrencyConflict("the schema changed under a prepared statement", hint="try it again")
        if isinstance(state, str):
            return _by_a_proxy(state, link) or _by_right(state, link) or _by_state(state, link)
        if isinstance(link, asyncpg.InternalClientError):
            # The server closed an idle connection: asyncpg received a message that it did not expect.
            return Unavailable("the connection to PostgreSQL is unusable", hint=TRY_AGAIN)
        if isinstance(link, asyncpg.InterfaceError):
            return _by_interface(link)
    return _by_module(error)


def reason_of(error: BaseException) -> str:
    """The server's message for a failed statement of a migration, where it contains only names and words of the
    statement; else empty, because messages of other classes may quote values of a row.
    """
    link: BaseException | None = error
    while link is not None:
        if str(getattr(link, "sqlstate", None) or "").startswith(_ABOUT_STATEMENTS):
            return str(getattr(link, "message", None) or "")
        link = link.__cause__
    return ""


def never_carried_out(error: BaseException) -> bool:
    """Whether a statement certainly had no effect: the server had ended the session because its transaction was idle,
    or asyncpg sent nothing, because the server had closed the connection.
    """
    return any(getattr(link, "sqlstate", None) == _ENDED_IDLE or _is_unsent(link) for link in _chain(error))


def _is_unsent(error: BaseException) -> bool:
    return isinstance(error, asyncpg.InternalClientError) and str(error).startswith(_UNSENT)


def without_query(error: BaseException) -> None:
    """Take the text of the statement off an error of asyncpg, where it may have values written in."""
    for link in _chain(error):
        if getattr(link, "query", None) is not None:
            link.query = None  # type: ignore[attr-defined]  # asyncpg sets it beside its declared attributes


def unreachable(error: BaseException) -> FreeholdError | None:
    """Translate an error of one of Freehold's own statements, including errors of the socket."""
    if isinstance(error, TimeoutError):
        return OperationTimeout("PostgreSQL did not answer in time", hint="whether it took effect is not known")
    if isinstance(error, OSError):
        return Unavailable(f"the connection to PostgreSQL was lost ({type(error).__name__})", hint=TRY_AGAIN)
    return translate_error(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, the one that SQLAlchemy wraps (`orig`), and its causes."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and _is_driver(current):
        seen.add(id(current))
        yield current
        current = getattr(current, "orig", None) or current.__cause__


def _is_driver(error: BaseException) -> bool:
    return _home(error) in {"asyncpg", "psycopg", "sqlalchemy"} or isinstance(error, asyncpg.PostgresError)


def _home(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def diagnose_connecting(error: BaseException) -> FreeholdError | None:
    """Translate an exception of a new connection. Everything but a wrong setting is an outage, including unknown codes:
    there is no statement that could be wrong.
    """
    known = translate_error(error)
    if known is None or isinstance(known, Unavailable | ConfigurationError):
        return known
    state = next((state for link in _chain(error) if (state := str(getattr(link, "sqlstate", None) or ""))), "")
    reason = _REFUSED_CONNECTIONS.get(state, known.message)
    message = f"{reason} (PostgreSQL {state})" if state else reason
    return Unavailable(message, hint=_REMEDIES.get(state, "try again"))


def meaning(state: str) -> tuple[ErrorMeaning, str]:
    """The meaning and message of a SQLSTATE."""
    for length in range(len(state), 1, -1):
        if state[:length] in ERROR_TABLE:
            return ERROR_TABLE[state[:length]]
    return ErrorMeaning.REFUSAL, ""


def _by_a_proxy(state: str, error: BaseException) -> ConfigurationError | None:
    """The error where a proxy pools transactions and the database URL does not say so; None for any other cause."""
    if str(error).startswith(_REFUSED_AT_START):
        return ConfigurationError("PgBouncer refused a parameter of the connection", hint=BEHIND_A_PROXY)
    if state in _LOST_STATEMENTS:
        return ConfigurationError(f"{meaning(state)[1]} ({state})", hint=BEHIND_A_PROXY)
    return None


def _by_state(state: str, error: BaseException) -> FreeholdError:
    kind, reason = meaning(state)
    match kind:
        case ErrorMeaning.OUTAGE if state == _ENDED_IDLE:
            return Unavailable(
                f"{reason} (PostgreSQL {state})", hint="try again; do not do slow work inside a transaction"
            )
        case ErrorMeaning.OUTAGE:
            return Unavailable(f"{reason} (PostgreSQL {state})", hint=_REMEDIES.get(state, "try again"))
        case ErrorMeaning.CONFLICT:
            return ConcurrencyConflict(f"the transaction {reason} ({state})", hint="try it again")
        case ErrorMeaning.TIMEOUT:
            return OperationTimeout(reason, hint="it had no effect")
        case ErrorMeaning.CONFIGURATION:
            return ConfigurationError(reason, hint="check the database URL of this service")
        case ErrorMeaning.REFUSAL | ErrorMeaning.ANSWER:
            return DatabaseError(f"PostgreSQL refused: {_name(error)}{_place(error)} ({state})")


def _by_right(state: str, error: BaseException) -> PermissionDenied | None:
    """The error for a missing right. Only the server's message names the object, so it is read where it has a known
    form without values.
    """
    if state != _NO_RIGHT:
        return None
    diagnostics: Any = getattr(error, "diag", None)
    text = str(getattr(diagnostics, "message_primary", None) or getattr(error, "message", None) or "")
    found = _NO_RIGHT_ON(text)
    if found is None:
        return PermissionDenied(f"the database role lacks a right ({state})", hint=_RIGHTS)
    what = " ".join(found.groups())
    if text.startswith("must be owner"):
        return PermissionDenied(f"the database role must own {what} for this ({state})", hint=_RIGHTS)
    return PermissionDenied(f"the database role lacks a right on {what} ({state})", hint=_RIGHTS)


def _by_interface(error: BaseException) -> FreeholdError:
    text = str(error)
    if "closed" in text or "released back" in text:
        return Unavailable("the connection to PostgreSQL was lost", hint=TRY_AGAIN)
    return DatabaseError(f"asyncpg failed: {type(error).__name__}", hint="see the cause; it may contain values")


def _by_module(error: BaseException) -> FreeholdError | None:
    """Translate an error without a SQLSTATE by its class: psycopg has none for a failed connection."""
    origin: BaseException = getattr(error, "orig", None) or error
    if _home(origin) not in {"psycopg", "asyncpg"}:
        return None
    if type(origin).__name__ in {"OperationalError", "ConnectionTimeout", "ConnectionDoesNotExistError"}:
        return Unavailable("the connection to PostgreSQL was lost", hint="try again")
    message = f"{_home(origin)} failed: {type(origin).__name__}"
    return DatabaseError(message, hint="see the cause; it may contain values")


def _name(error: BaseException) -> str:
    return type(error).__name__.removesuffix("Error")


def _place(error: BaseException) -> str:
    """The names of the schema in the error; no values."""
    diagnostics: Any = getattr(error, "diag", error)
    constraint, table = getattr(diagnostics, "constraint_name", None), getattr(diagnostics, "table_name", None)
    column = getattr(diagnostics, "column_name", None)
    parts = [
        f" {kind} '{name}'" for kind, name in (("constraint", constraint), ("table", table), ("column", column)) if name
    ]
    return f" at{','.join(parts)}" if parts else ""
