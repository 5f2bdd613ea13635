"""The `Database` port on SQLite: aiosqlite behind SQLAlchemy's pool. Imports the base of the SQL adapters.

WAL, so that readers and the writer do not wait for each other; `synchronous=FULL`, so that a commit survives loss of
power (`?synchronous=normal` in the URL gives that up for speed; a killed process loses nothing either way). Writers of
one process queue in order of arrival before they compete for SQLite's lock, whose waiting is not fair.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import aiosqlite
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from freehold.adapters.sql.connection import SqlConnection
from freehold.adapters.sql.engine import EngineDatabase
from freehold.adapters.sql.enlist import enlist_alchemy
from freehold.adapters.sql.foreign import foreign, once_in_transaction
from freehold.adapters.sql.migrations import packaged_migrations
from freehold.adapters.sql.pool import PooledConnection
from freehold.adapters.sqlite.connection import JoinedAiosqlite, PooledAiosqlite, QueuedWrites
from freehold.adapters.sqlite.dialect import SqliteDialect
from freehold.adapters.sqlite.errors import diagnose
from freehold.adapters.sqlite.examine import examine
from freehold.adapters.sqlite.inline import InlineConnection, connect
from freehold.clock import Clock
from freehold.database import DatabaseFeatures, DatabaseOptions, Finding, UnitOfWork
from freehold.errors import ConfigurationError, FreeholdError, Unavailable
from freehold.migrations import Migration

__all__ = ["FEATURES", "SqliteDatabase"]

FEATURES: Final = DatabaseFeatures(
    technology="SQLite",
    emulation=False,
    durable=True,
    concurrent_writers=False,
    several_processes=True,
    byte_order_sql="COLLATE BINARY",
    apart="SQLite knows no schemas: give each service a file of its own",
    proves_death=os.name == "posix",
)
_VERSION_MIN: Final = (3, 35, 0)
_TABLES_OF_A_BROKER: Final = {"message", "progress", "member", "setting"}
_SYNCHRONOUS: Final = {"full", "normal", "extra"}


class SqliteDatabase(EngineDatabase):
    """One service's SQLite file."""

    def __init__(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> None:
        super().__init__(
            SqliteDialect(clock),
            options,
            packaged_migrations("freehold.adapters.sqlite.migrations", "sqlite"),
            migrations,
        )
        self._url, self._synchronous = _parse(url)
        self._writer: asyncio.Lock | None = None

    @property
    def file(self) -> Path:
        """Where the database is."""
        return Path(self._url.database or "").resolve()

    @property
    def features(self) -> DatabaseFeatures:
        """What SQLite guarantees."""
        return FEATURES

    def enlist(self, native: object) -> UnitOfWork:
        """Join a transaction of SQLAlchemy or aiosqlite."""
        joined = enlist_alchemy(native, "sqlite", diagnose, _in_transaction)
        if joined is not None:
            return joined
        if isinstance(native, aiosqlite.Connection):
            if native.isolation_level is None and not native.in_transaction:
                raise ConfigurationError(
                    "the aiosqlite connection is in autocommit mode and in no transaction", hint="execute BEGIN first"
                )
            connection = native
            return foreign(
                native, JoinedAiosqlite(native, self.options), once_in_transaction(lambda: connection.in_transaction)
            )
        raise ConfigurationError(
            f"a {type(native).__name__} cannot be joined",
            hint="an AsyncSession or AsyncConnection of SQLAlchemy, or a connection of aiosqlite",
        )

    def diagnose(self, error: BaseException) -> FreeholdError | None:
        """Translate errors of sqlite3, aiosqlite, and SQLAlchemy over them."""
        return diagnose(error)

    async def grants(self, role: str, schema: str | None = None) -> list[str]:
        """There are no roles."""
        raise ConfigurationError("SQLite knows no roles", hint="whoever may write the file may do everything")

    async def examine(self) -> list[Finding]:
        """Look at SQLite's version and settings."""
        async with self.direct() as sql:
            return await examine(sql)

    async def open(self) -> None:
        """Make the file where there is none, and turn to WAL."""
        self._check_directory()
        self._writer = self._writer or asyncio.Lock()
        await super().open()

    def _check_directory(self) -> None:
        directory = Path(self._url.database or "").absolute().parent
        if ".freehold" in directory.parts:
            # Freehold's own place, where settings name no URL; somebody else's directory may be a mistyped one.
            directory.mkdir(parents=True, exist_ok=True)
        if not directory.is_dir():
            raise ConfigurationError(f"the directory '{directory}' does not exist", hint="make it, or change the URL")

    async def lock_migrations(self, sql: SqlConnection) -> None:
        """Nothing to do: the transaction is the only one that writes."""

    async def make_place(self, sql: SqlConnection) -> None:
        """Nothing to do: there are no schemas."""

    def _create_engine(self) -> AsyncEngine:
        engine = create_async_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            pool_size=self.options.pool_size,
            max_overflow=0,
            pool_timeout=self.options.pool_timeout_seconds,
            pool_reset_on_return=None,
            skip_autocommit_rollback=True,
            hide_parameters=True,
            async_creator=self._connect_file,
        )
        event.listen(engine.sync_engine, "connect", self._set_up)
        return engine

    async def _connect_file(self) -> InlineConnection:
        return await connect(
            self._url.database or "",
            lock_timeout_seconds=self.options.lock_timeout_seconds,
            statement_timeout_seconds=self.options.statement_timeout_seconds,
        )

    def _set_up(self, connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for setting in (f"synchronous = {self._synchronous}", "foreign_keys = ON", "journal_size_limit = 67108864"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    def _pooled(self, driver: object) -> PooledConnection:
        return PooledAiosqlite(cast("InlineConnection", driver), self.options)

    def _autocommitting(self, sql: PooledConnection) -> SqlConnection:
        return QueuedWrites(sql, self._writing)

    def _writing(self) -> AbstractAsyncContextManager[None]:
        return self._queue()

    @asynccontextmanager
    async def _queue(self) -> AsyncIterator[None]:
        if self._writer is None:
            raise ConfigurationError("the database is not open", hint="await database.open() first")
        seconds = self.options.lock_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._writer.acquire()
        except TimeoutError as error:
            raise Unavailable(
                f"another transaction of this process held the write lock longer than {seconds} s",
                hint="keep transactions short, and begin none within another",
            ) from error
        try:
            yield
        finally:
            self._writer.release()

    async def _check_server(self, sql: SqlConnection) -> None:
        if sqlite3.sqlite_version_info < _VERSION_MIN:
            raise ConfigurationError(
                f"SQLite {sqlite3.sqlite_version} is older than {'.'.join(map(str, _VERSION_MIN))}",
                hint="use a Python that is linked against a newer one",
            )
        tables = {row[0] for row in await sql.fetch("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if tables >= _TABLES_OF_A_BROKER and "freehold_meta" not in tables:
            raise ConfigurationError(
                "the file is that of an embedded broker", hint="give the service's database a file of its own"
            )
        mode = (await sql.fetch("PRAGMA journal_mode = WAL"))[0][0]
        if mode != "wal":
            raise ConfigurationError(
                f"the file system does not permit WAL (journal_mode is '{mode}')", hint="put the file on a local disk"
            )


def _parse(text: str) -> tuple[URL, str]:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError("the SQLite URL cannot be read", hint="sqlite:///orders.db") from None
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationError("the SQLite URL names no file", hint="sqlite:///orders.db, or memory:// for tests")
    if "schema" in url.query:
        raise ConfigurationError(
            "SQLite knows no schemas", hint="give each service a file of its own, without ?schema="
        )
    if unknown := sorted(set(url.query) - {"synchronous"}):
        raise ConfigurationError(
            f"the SQLite URL has parameters that are not known: {', '.join(unknown)}", hint="known is synchronous"
        )
    synchronous = str(url.query.get("synchronous", "full")).lower()
    if synchronous not in _SYNCHRONOUS:
        raise ConfigurationError("synchronous in the SQLite URL is not known", hint="full, extra or normal")
    return url.set(drivername="sqlite+aiosqlite", query={}), synchronous


def _in_transaction(driver: Any) -> bool:
    return bool(driver.in_transaction)
