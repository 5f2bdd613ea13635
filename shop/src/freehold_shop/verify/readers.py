"""Readers of a service's database that cannot change it: in one snapshot, a page of rows at a time.

SQLite is opened with `mode=ro`, PostgreSQL and MariaDB in a read-only repeatable-read transaction, and rows stay on the
server until they are read. Imports the drivers, and of Freehold the runtime and the errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import psycopg
from asyncmy.errors import MySQLError

from freehold import ConfigurationError, DatabaseError, FreeholdError, Unavailable
from freehold.runtime import DatabaseOptions, open_stores
from freehold_shop.verify.mariadb_reader import open_mariadb

__all__ = ["PAGE_ROWS", "Reader", "can_write", "open_reader", "postgres_dsn", "sqlite_path"]

PAGE_ROWS = 2_000
_CONNECT_LIMIT_SECONDS = 5
_LOCK_LIMIT_SECONDS = 5.0
_FREEHOLDS_OWN = frozenset({"schema", "statement_cache_size", "prepared_statement_cache_size", "ssl"})


class Reader(Protocol):
    """A snapshot of a database."""

    @property
    def dialect(self) -> str:
        """`sqlite`, `postgresql` or `mariadb`."""

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query that takes no parameters, in pages of `PAGE_ROWS`.

        A query quotes a name that an engine reserves (`"key"`), and is read before the next one begins.
        """

    def ms(self, column: str) -> str:
        """The SQL expression of a time column of Freehold's tables in milliseconds since 1970."""

    def uuid(self, column: str) -> str:
        """The SQL expression of a UUID column of Freehold's tables as text."""


@contextlib.contextmanager
def open_reader(url: str, service: str | None = None) -> Iterator[Reader]:
    """Open a snapshot of the database of a Freehold URL.

    An error of the engine is translated and names the service. Raises `Unavailable`, `DatabaseError`,
    `ConfigurationError`.
    """
    try:
        with _opened(url) as reader:
            yield reader
    except (sqlite3.Error, psycopg.Error, MySQLError) as error:
        translated = _translated(url, error)
        raise translated.of_service(service) if service else translated from error
    except FreeholdError as error:
        if service:
            error.of_service(service)
        raise


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Reader]:
    scheme = urlsplit(url).scheme.partition("+")[0]
    match scheme:
        case "sqlite" | "embedded":
            with _sqlite(sqlite_path(url)) as reader:
                yield reader
        case "postgresql" | "postgres":
            with _postgres(url) as reader:
                yield reader
        case "mariadb":
            with open_mariadb(url, connect_seconds=_CONNECT_LIMIT_SECONDS, page_rows=PAGE_ROWS) as reader:
                yield reader
        case _:
            raise ConfigurationError(
                f"a database of scheme '{scheme}' cannot be verified", hint="sqlite, postgresql or mariadb"
            )


def can_write(url: str) -> str | None:
    """Take and release the write lock of an SQLite database; return the problem where that fails in time, or None."""
    connection = sqlite3.connect(sqlite_path(url), timeout=_LOCK_LIMIT_SECONDS, isolation_level=None)
    with contextlib.closing(connection):
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return f"no write lock within {_LOCK_LIMIT_SECONDS:g} s"
    return None


def sqlite_path(url: str) -> Path:
    """The file of an `sqlite:///…` or `embedded:///…` URL: three slashes and a path, four where it is absolute."""
    return Path(unquote(urlsplit(url).path.removeprefix("/")))


def postgres_dsn(url: str) -> str:
    """The URL for libpq: without a driver, and without Freehold's own options."""
    parts = urlsplit(url)
    kept = [(key, value) for key, value in parse_qsl(parts.query) if key not in _FREEHOLDS_OWN]
    query = f"?{urlencode(kept, quote_via=quote)}" if kept else ""
    return f"postgresql://{parts.netloc}{parts.path}{query}"


def _translated(url: str, error: sqlite3.Error | psycopg.Error | MySQLError) -> FreeholdError:
    """The error translated by the engine's adapter."""
    file = "" if urlsplit(url).scheme.startswith(("postgres", "mariadb")) else f"sqlite:///{sqlite_path(url)}"
    found = open_stores(file or url).database.translate_error(error)
    if isinstance(found, DatabaseError) and not found.hint:
        found.hint = "freehold db status shows what is missing"
    return found or Unavailable(f"the database failed: {type(error).__name__}", hint="freehold doctor")


async def _why_unreachable(url: str) -> FreeholdError:
    """The reason why a connection fails, from Freehold's driver: libpq gives no error code for it."""
    database = open_stores(url, DatabaseOptions(connect_timeout_seconds=_CONNECT_LIMIT_SECONDS)).database
    try:
        await database.open()
    except FreeholdError as error:
        return error
    await database.close()
    return Unavailable("the database could not be reached just now", hint="try again")


def _schema(url: str) -> str | None:
    return dict(parse_qsl(urlsplit(url).query)).get("schema")


@contextlib.contextmanager
def _sqlite(path: Path) -> Iterator[Reader]:
    if not path.is_file():
        raise Unavailable(f"there is no database {path.name}", hint=f"it was expected in {path.parent}")
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        connection = sqlite3.connect(
            address, uri=True, timeout=_LOCK_LIMIT_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.OperationalError as error:
        raise Unavailable(f"the database {path.name} cannot be opened", hint=str(path)) from error
    with contextlib.closing(connection):
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        yield _SqliteReader(connection)


@contextlib.contextmanager
def _postgres(url: str) -> Iterator[Reader]:
    try:
        connection = psycopg.connect(postgres_dsn(url), connect_timeout=_CONNECT_LIMIT_SECONDS)
    except psycopg.OperationalError as error:
        raise asyncio.run(_why_unreachable(url)) from error
    with contextlib.closing(connection):
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        if schema := _schema(url):
            path = "SELECT set_config('search_path', quote_ident(%s) || ', ' || current_setting('search_path'), true)"
            connection.execute(path, (schema,))
        yield _PostgresReader(connection)


class _SqliteReader:
    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """See `Reader`."""
        cursor = self._connection.execute(query)
        while page := cursor.fetchmany(PAGE_ROWS):
            yield from page

    def ms(self, column: str) -> str:
        """See `Reader`."""
        return f"{column} / 1000"

    def uuid(self, column: str) -> str:
        """See `Reader`."""
        return f"CAST({column} AS TEXT)"


class _PostgresReader:
    dialect = "postgresql"

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """See `Reader`."""
        with self._connection.cursor(name="verify") as cursor:
            cursor.itersize = PAGE_ROWS
            cursor.execute(query.encode())
            yield from cursor

    def ms(self, column: str) -> str:
        """See `Reader`."""
        return f"CAST(extract(epoch FROM {column}) * 1000 AS bigint)"

    def uuid(self, column: str) -> str:
        """See `Reader`."""
        return f"CAST({column} AS TEXT)"
