"""What every store on an SQL database stands on. Imports its siblings and the ports."""

from __future__ import annotations

from typing import cast

from freehold.adapters.sql.connection import SqlConnection, SqlDatabase, SqlUnit
from freehold.adapters.sql.dialect import Dialect
from freehold.database import UnitOfWork
from freehold.errors import ConfigurationError

__all__ = ["SqlStore", "sql_of", "storable"]


class SqlStore:
    """The database and its dialect. Statements are built once, when the store is made."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        self._database = database
        self._dialect = dialect


def sql_of(unit: UnitOfWork) -> SqlConnection:
    """The SQL side of a unit of work. Raises `ConfigurationError` for one of another kind of database."""
    if not hasattr(unit, "sql"):
        raise ConfigurationError(
            f"a {type(unit).__name__} was given to an SQL store", hint="use the stores of the same database"
        )
    return cast("SqlUnit", unit).sql


def storable(text: str, characters_max: int) -> str:
    """A text for people, cut off at a bound, without the one character that PostgreSQL does not store."""
    return text[:characters_max].replace("\x00", "\N{REPLACEMENT CHARACTER}")
