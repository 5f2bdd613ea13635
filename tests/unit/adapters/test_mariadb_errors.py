"""Every number that is known, from the driver and through SQLAlchemy, and what is said of those that are not."""

from __future__ import annotations

import pytest
import sqlalchemy.exc
from asyncmy import errors

from freehold.adapters.mariadb.errors import ERROR_TABLE, reason_of, translate_error, unreachable
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
}
SECRET = "ada@example.org"


def _errors(number: int, text: str = SECRET) -> list[Exception]:
    error = errors.OperationalError(number, text)
    return [error, sqlalchemy.exc.DBAPIError("SELECT 1", None, error)]


@pytest.mark.parametrize("number", ERROR_TABLE)
def test_each_row_of_the_table(number: int) -> None:
    kind, reason = ERROR_TABLE[number]
    for error in _errors(number):
        known = translate_error(error)
        assert type(known) is KINDS[kind]
        assert reason in str(known)
        assert SECRET not in str(known)


@pytest.mark.parametrize("number", [1048, 1064, 1153, 1264, 1406, 1452, 4025, 65000])
def test_all_others_are_refusals(number: int) -> None:
    for error in _errors(number):
        known = translate_error(error)
        assert type(known) is DatabaseError
        assert str(number) in str(known)
        assert SECRET not in str(known)


def test_a_key_that_is_there_is_told_by_the_name_of_its_index() -> None:
    (known,) = {str(translate_error(error)) for error in _errors(1062, f"Duplicate entry '{SECRET}' for key 'PRIMARY'")}
    assert "at key 'PRIMARY'" in known
    assert SECRET not in known


def test_a_right_that_is_missing_is_told() -> None:
    assert all(type(translate_error(error)) is PermissionDenied for error in _errors(1142))


def test_a_connection_that_was_closed_is_an_outage() -> None:
    assert type(translate_error(errors.InterfaceError(0, "Not connected"))) is Unavailable
    assert type(unreachable(ConnectionResetError())) is Unavailable
    assert type(unreachable(TimeoutError())) is OperationTimeout


def test_the_servers_words_are_told_of_a_statement_alone() -> None:
    assert reason_of(errors.ProgrammingError(1146, "Table 'a.thing' doesn't exist")) == "Table 'a.thing' doesn't exist"
    assert reason_of(errors.IntegrityError(1062, f"Duplicate entry '{SECRET}' for key 'PRIMARY'")) == ""
