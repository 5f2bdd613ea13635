"""Every SQLSTATE that is known, and one of each class that is not, from both drivers and through SQLAlchemy."""

from __future__ import annotations

import asyncpg
import psycopg
import pytest
import sqlalchemy.exc

from freehold.adapters.postgres.errors import ERROR_TABLE, diagnose_connecting, meaning, translate_error
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

KINDS: dict[ErrorMeaning, type[FreeholdError]] = {
    ErrorMeaning.OUTAGE: Unavailable,
    ErrorMeaning.TIMEOUT: OperationTimeout,
    ErrorMeaning.CONFLICT: ConcurrencyConflict,
    ErrorMeaning.CONFIGURATION: ConfigurationError,
    ErrorMeaning.REFUSAL: DatabaseError,
}
SECRET = "ada@example.org"


def _errors(state: str) -> list[Exception]:
    """The same error as each driver raises it, and as SQLAlchemy wraps it."""
    by_asyncpg = asyncpg.PostgresError(SECRET)
    vars(by_asyncpg)["sqlstate"] = state  # its classes hold it, and no two may hold the same
    by_psycopg = psycopg.Error(SECRET)
    by_psycopg.sqlstate = state
    return [by_asyncpg, by_psycopg, sqlalchemy.exc.DBAPIError("SELECT 1", None, by_asyncpg)]


@pytest.mark.parametrize("row", ERROR_TABLE)
def test_each_row_of_the_table(row: str) -> None:
    state = row.ljust(5, "0")
    kind, reason = ERROR_TABLE[state] if state in ERROR_TABLE else ERROR_TABLE[row]
    for error in _errors(state):
        known = translate_error(error)
        assert type(known) is KINDS[kind]
        assert SECRET not in str(known)
        if kind is not ErrorMeaning.REFUSAL:
            assert reason in str(known)


@pytest.mark.parametrize("state", ["08ZZZ", "28ZZZ", "40ZZZ", "53ZZZ", "57PZZ", "58ZZZ", "72ZZZ", "F0ZZZ", "XXZZZ"])
def test_an_unknown_code_of_a_known_class_means_what_the_class_does(state: str) -> None:
    kind = meaning(state)[0]
    assert kind is not ErrorMeaning.REFUSAL
    assert all(type(translate_error(error)) is KINDS[kind] for error in _errors(state))


@pytest.mark.parametrize("state", ["22021", "23505", "42501", "42P01", "54000", "55000", "P0001", "ZZZZZ"])
def test_everything_else_is_a_refusal_of_the_statement(state: str) -> None:
    expected = PermissionDenied if state == "42501" else DatabaseError
    assert all(type(translate_error(error)) is expected for error in _errors(state))


@pytest.mark.parametrize("state", ["42501", "55000", "53300", "57P03", "25006", "ZZZZZ", "08P01"])
def test_a_refused_connection_is_an_outage(state: str) -> None:
    for error in _errors(state):
        known = diagnose_connecting(error)
        assert isinstance(known, Unavailable)
        assert state in str(known)
        assert SECRET not in str(known)


@pytest.mark.parametrize("state", ["28000", "28P01", "3D000"])
def test_a_connection_that_is_set_up_wrongly_is_configuration(state: str) -> None:
    assert all(isinstance(diagnose_connecting(error), ConfigurationError) for error in _errors(state))


def test_a_plan_that_no_longer_fits_is_a_conflict() -> None:
    assert isinstance(translate_error(asyncpg.InvalidCachedStatementError("changed")), ConcurrencyConflict)
