"""What errors of PostgreSQL and its drivers mean. Imports the foundation.

Texts are made of the SQLSTATE and of names in the schema, never of the server's message: that prints the values of a
row in a unique violation, and the parameters in others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import asyncpg

from freehold.errors import (
    ConcurrencyConflict,
    ConfigurationError,
    DatabaseError,
    FreeholdError,
    OperationTimeout,
    Unavailable,
)

__all__ = ["TRY_AGAIN", "diagnose", "never_carried_out", "unreachable"]

TRY_AGAIN: Final = "try again; a transaction that stands idle longer than idle_transaction_timeout_seconds ends so too"
"""The hint for a connection that was lost: asyncpg often finds it closed, and does not know any more why."""
_ENDED_IDLE: Final = "25P03"
_TIME_LIMITS: Final = (_ENDED_IDLE, "57014")
_UNSENT: Final = ("cannot switch to state", "not connected")

_CONFLICTS: Final = {
    "40001": "could not be serialised with a concurrent transaction",
    "40P01": "was chosen to end a deadlock",
    "55P03": "waited for a lock longer than lock_timeout_seconds",
}
_UNAVAILABLE_CLASSES: Final = ("08", "53", "57P", "58")
_UNAVAILABLE: Final = ("25006", "25P04", "XX000")
_REFUSED_AT_THE_DOOR: Final = {
    "28000": "the role is not permitted to connect",
    "28P01": "the password is wrong",
    "3D000": "the database does not exist",
}


def diagnose(error: BaseException) -> FreeholdError | None:
    """Translate an exception of asyncpg, psycopg, or SQLAlchemy over either; None where it is none of them."""
    if isinstance(error, FreeholdError):
        return None
    for link in reversed(list(_chain(error))):  # the innermost knows the names in the schema
        state = getattr(link, "sqlstate", None)
        if isinstance(state, str):
            return _by_state(state, link)
        if isinstance(link, asyncpg.InternalClientError):
            # The server's farewell to an idle connection leaves asyncpg in the middle of a message it did not ask for.
            return Unavailable("the connection to PostgreSQL is unusable", hint=TRY_AGAIN)
        if isinstance(link, asyncpg.InterfaceError):
            return _by_interface(link)
    return _by_module(error)


def never_carried_out(error: BaseException) -> bool:
    """Whether it is sure that a statement had no effect: the server had ended the session because its transaction
    stood idle, or asyncpg sent nothing, for it had heard the server's farewell.
    """
    return any(getattr(link, "sqlstate", None) == _ENDED_IDLE or _is_unsent(link) for link in _chain(error))


def _is_unsent(error: BaseException) -> bool:
    return isinstance(error, asyncpg.InternalClientError) and str(error).startswith(_UNSENT)


def unreachable(error: BaseException) -> FreeholdError | None:
    """Translate also what a driver lets through from the socket, for statements that are known to be Freehold's own."""
    if isinstance(error, TimeoutError):
        return OperationTimeout("PostgreSQL did not answer in time", hint="whether it took effect is not known")
    if isinstance(error, OSError):
        return Unavailable(f"the connection to PostgreSQL was lost ({type(error).__name__})")
    return diagnose(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what SQLAlchemy wraps (`orig`), and what that was raised from."""
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


def _by_state(state: str, error: BaseException) -> FreeholdError:
    if state in _CONFLICTS:
        return ConcurrencyConflict(f"the transaction {_CONFLICTS[state]} ({state})", hint="try it again")
    if state in _TIME_LIMITS:
        return _time_limit(state)
    if state.startswith(_UNAVAILABLE_CLASSES) or state in _UNAVAILABLE:
        return Unavailable(f"PostgreSQL cannot serve now: {_name(error)} ({state})", hint="try again")
    if state in _REFUSED_AT_THE_DOOR:
        return ConfigurationError(_REFUSED_AT_THE_DOOR[state], hint="look at the database URL of this service")
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return ConcurrencyConflict("the schema changed under a prepared statement", hint="try it again")
    return DatabaseError(f"PostgreSQL refused: {_name(error)}{_place(error)} ({state})")


def _time_limit(state: str) -> FreeholdError:
    if state == _ENDED_IDLE:
        return Unavailable(
            f"the transaction stood idle longer than idle_transaction_timeout_seconds, and was rolled back ({state})",
            hint="try again; keep what takes long out of transactions",
        )
    return OperationTimeout("a statement ran longer than statement_timeout_seconds", hint="it had no effect")


def _by_interface(error: BaseException) -> FreeholdError:
    text = str(error)
    if "closed" in text or "released back" in text:
        return Unavailable("the connection to PostgreSQL was lost", hint=TRY_AGAIN)
    return DatabaseError(f"asyncpg refused: {type(error).__name__}", hint="see the cause; it may hold values")


def _by_module(error: BaseException) -> FreeholdError | None:
    """No SQLSTATE comes from psycopg where the connection is what failed."""
    origin: BaseException = getattr(error, "orig", None) or error
    if _home(origin) not in {"psycopg", "asyncpg"}:
        return None
    if type(origin).__name__ in {"OperationalError", "ConnectionTimeout", "ConnectionDoesNotExistError"}:
        return Unavailable("the connection to PostgreSQL was lost", hint="try again")
    return DatabaseError(f"{_home(origin)} refused: {type(origin).__name__}", hint="see the cause; it may hold values")


def _name(error: BaseException) -> str:
    return type(error).__name__.removesuffix("Error")


def _place(error: BaseException) -> str:
    """Names in the schema that the error carries: never values."""
    diagnostics: Any = getattr(error, "diag", error)
    constraint, table = getattr(diagnostics, "constraint_name", None), getattr(diagnostics, "table_name", None)
    column = getattr(diagnostics, "column_name", None)
    parts = [
        f" {kind} '{name}'" for kind, name in (("constraint", constraint), ("table", table), ("column", column)) if name
    ]
    return f" at{','.join(parts)}" if parts else ""
