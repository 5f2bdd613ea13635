"""The `Database` port on SQLite: aiosqlite behind SQLAlchemy's pool. Imports the base of the SQL adapters.

It uses WAL, so that readers and the writer do not wait for each other, and `synchronous=FULL`, so that a commit
survives a loss of power. `?synchronous=normal` in the URL is faster and gives up the latter; a killed process loses
nothing either way. Writers of one process queue in order before they compete for SQLite's lock, which is not fair.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import aiosqlite
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from freehold.adapters.files.hints import file_hints
from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.engine.database import EngineDatabase
from freehold.adapters.sql.engine.enlistment import enlist_alchemy
from freehold.adapters.sql.engine.packaged import packaged_schema
from freehold.adapters.sql.engine.pool import (
    RESERVED,
    Pooled,
    PooledConnection,
    reserved_connection,
    uninterrupted,
)
from freehold.adapters.sql.handles.foreign import foreign, once_in_transaction
from freehold.adapters.sql.handles.guard import Guard, GuardedSql
from freehold.adapters.sql.inspection.catalogue import Catalogue
from freehold.adapters.sqlite.catalogue import expected, found
from freehold.adapters.sqlite.connection import (
    JoinedAiosqlite,
    PooledAiosqlite,
    QueuedWrites,
    SyncConnection,
    connect,
)
from freehold.adapters.sqlite.dialect import SqliteDialect
from freehold.adapters.sqlite.doctor import run_checks
from freehold.adapters.sqlite.errors import reason_of, translate_error
from freehold.adapters.sqlite.file import DatabaseFile
from freehold.adapters.sqlite.probe import locked_by_another, named, write_row
from freehold.adapters.sqlite.url import parse_url
from freehold.clock import Clock
from freehold.database import CheckResult, DatabaseFeatures, DatabaseOptions, DatabaseTransaction
from freehold.disk import check_free_space
from freehold.errors import ConfigurationError, FreeholdError, OperationTimeout, Unavailable
from freehold.hints import HintChannel
from freehold.life import Life, LifeState
from freehold.migrations import Migration

__all__ = ["FEATURES", "SqliteDatabase"]

FEATURES: Final = DatabaseFeatures(
    technology="SQLite",
    emulation=False,
    durable=True,
    concurrent_writers=False,
    several_processes=True,
    apart="SQLite has no schemas: give each service a file of its own",
    proves_death=os.name == "posix",
)
_SWITCH_SECONDS: Final = 0.01
_VERSION_MIN: Final = (3, 35, 0)
_TABLES_OF_A_BROKER: Final = {"message", "progress", "member", "setting"}


class SqliteDatabase(EngineDatabase):
    """One service's SQLite file."""

    def __init__(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> None:
        super().__init__(
            SqliteDialect(clock),
            options,
            packaged_schema("freehold.adapters.sqlite", "sqlite"),
            migrations,
        )
        self._url, self._synchronous = parse_url(url)
        self._writer: asyncio.Lock | None = None
        self._holds_lock = False
        self._at = self._file_at_path()
        self._owner: str | None = None

    @property
    def file(self) -> Path:
        """The path of the database's file."""
        return Path(self._url.database or "").resolve()

    @property
    def features(self) -> DatabaseFeatures:
        """The features of SQLite."""
        return FEATURES

    def hint_channel(self, service: str) -> HintChannel | None:
        """A directory with a socket for each process, beside the file."""
        return file_hints(self.file, service)

    def enlist(self, native: object) -> DatabaseTransaction:
        """Enlist in a transaction of SQLAlchemy or aiosqlite. Raises `ConfigurationError` for anything else."""
        joined = enlist_alchemy(native, "sqlite", translate_error, _in_transaction)
        if joined is not None:
            return joined
        if isinstance(native, aiosqlite.Connection):
            if native.isolation_level is None and not native.in_transaction:
                raise ConfigurationError(
                    "the aiosqlite connection is in autocommit mode, without a transaction", hint="execute BEGIN first"
                )
            connection = native
            return foreign(
                native, JoinedAiosqlite(native, self.options), once_in_transaction(lambda: connection.in_transaction)
            )
        raise ConfigurationError(
            f"Freehold cannot enlist in a {type(native).__name__}",
            hint="pass an AsyncSession or AsyncConnection of SQLAlchemy, or a connection of aiosqlite",
        )

    def translate_error(self, error: BaseException) -> FreeholdError | None:
        """Translate errors of sqlite3, aiosqlite, and SQLAlchemy over them."""
        return translate_error(error)

    async def grants(self, role: str, schema: str | None = None) -> list[str]:
        """Raise `ConfigurationError`: SQLite has no roles."""
        raise ConfigurationError("SQLite has no roles", hint="a process that may write the file may do everything")

    async def run_checks(self) -> list[CheckResult]:
        """Check SQLite's version and settings, and the disk."""
        async with self.direct() as sql:
            return [*await run_checks(sql), check_free_space("disk", self.file)]

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[SqlConnection]:
        """A connection on which each statement commits by itself; each borrows one of the pool (`QueuedWrites`)."""
        guard = Guard(Life("the direct connection"))
        try:
            yield GuardedSql(guard, QueuedWrites(self._borrow, self._writing))
        finally:
            guard.life.end(LifeState.CLOSED)
            if guard.busy:
                await uninterrupted(guard.settle(self._settle_seconds))

    @asynccontextmanager
    async def _borrow(self) -> AsyncIterator[PooledAiosqlite]:
        pooled = await self._check_out()
        try:
            yield cast("PooledAiosqlite", pooled.sql)
        except BaseException as error:
            self._mistrust(pooled, error)
            raise
        finally:
            if not self._give_at_once(pooled):
                await uninterrupted(self._give(pooled))

    async def probe(self, timeout_seconds: float) -> None:
        """Write a row and commit it. Raises `Unavailable`.

        Where another transaction of this process keeps the write lock, a recent commit shows the same and is enough.
        """
        deadline = time.monotonic() + timeout_seconds
        waits = True
        try:
            async with self._queue(timeout_seconds):
                waits = False
                await self._write_row(deadline, timeout_seconds)
                self._committed_at = time.monotonic()
        except Unavailable:
            lately = time.monotonic() - self._committed_at <= self.options.lock_timeout_seconds
            if not (waits and self._holds_lock and lately):
                raise

    async def _write_row(self, deadline: float, timeout_seconds: float) -> None:
        try:
            with reserved_connection():
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    pooled = await self._check_out()
        except TimeoutError as error:
            raise OperationTimeout(f"no connection became free within {timeout_seconds:g} s") from error
        try:
            left_seconds = max(0.05, deadline - time.monotonic())
            await write_row(pooled.sql, self.file, left_seconds, self.options.lock_timeout_seconds)
        except BaseException as error:
            self._mistrust(pooled, error)
            raise
        finally:
            await uninterrupted(self._give(pooled))

    async def open(self) -> None:
        """Open the file, or create it, and switch it to WAL."""
        self._check_directory()
        self._writer = self._writer or asyncio.Lock()
        if self._engine is None:
            self._at = self._file_at_path()
        try:
            await super().open()
        except Unavailable as error:
            raise named(error, self.file) from error.__cause__

    def _file_at_path(self) -> DatabaseFile:
        return DatabaseFile(Path(self._url.database or "").absolute(), self.options.lock_timeout_seconds)

    def _check_directory(self) -> None:
        directory = Path(self._url.database or "").absolute().parent
        if ".freehold" in directory.parts:
            # The default place, where the settings name no URL. Another missing directory may be a typing error.
            directory.mkdir(parents=True, exist_ok=True)
        if not directory.is_dir():
            raise ConfigurationError(f"the directory '{directory}' does not exist", hint="create it, or change the URL")

    async def lock_migrations(self, sql: SqlConnection) -> None:
        """Do nothing: the transaction holds the only write lock."""

    def reason_of(self, error: BaseException) -> str:
        """The engine's message for a failed statement of a migration; empty where it may quote values."""
        return reason_of(error)

    def expected(self, steps: Sequence[tuple[str, Sequence[str]]]) -> Catalogue:
        """The catalogue that these steps make, found by running them in memory."""
        return expected(tuple((label, tuple(statements)) for label, statements in steps))

    async def found(self, sql: SqlConnection, expected: Catalogue) -> Catalogue:
        """The catalogue of the file."""
        return await found(sql.fetch)

    async def relations(self, names: Sequence[str]) -> dict[str, str]:
        """The kinds of the existing tables and views by name; a schema before a name is ignored."""
        async with self.direct() as sql:
            rows = await sql.fetch("SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')")
        kinds = {str(name): str(kind) for name, kind in rows}
        plain = {name: name.rpartition(".")[2] for name in names}
        return {name: kinds[called] for name, called in plain.items() if called in kinds}

    def _create_engine(self) -> AsyncEngine:
        engine = create_async_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            pool_size=self.options.pool_size + RESERVED,
            max_overflow=0,
            pool_timeout=self.options.pool_timeout_seconds,
            pool_reset_on_return=None,
            skip_autocommit_rollback=True,
            hide_parameters=True,
            async_creator=self._connect_file,
        )
        event.listen(engine.sync_engine, "connect", self._set_up)
        return engine

    async def _connect_file(self) -> SyncConnection:
        if self._at.known:
            await asyncio.to_thread(self._at.put_in_order)
        connection = await connect(
            self._url.database or "",
            create=not self._at.known,
            lock_timeout_seconds=self.options.lock_timeout_seconds,
            statement_timeout_seconds=self.options.statement_timeout_seconds,
        )
        try:
            connection.files = files = self._at.opened()
            if self._at.is_another(files):
                await self._prove(connection)
        except BaseException:
            await uninterrupted(connection.close())
            raise
        return connection

    async def _prove(self, connection: SyncConnection) -> None:
        """Raise `Unavailable` where a file that replaced another one is not the database of the same service."""
        try:
            rows = await connection.execute_fetchall("SELECT value FROM freehold_meta WHERE name = 'service'")
        except sqlite3.OperationalError as error:
            known = translate_error(error)
            if isinstance(known, Unavailable):
                raise known from error
            raise _stranger() from error
        if self._owner is not None and [tuple(row) for row in rows] != [(self._owner,)]:
            raise _stranger()

    async def upgrade(self, service: str | None = None) -> list[str]:
        """Apply the missing migrations, and remember the owner of the database."""
        applied = await super().upgrade(service)
        self._owner = await self.owner()
        return applied

    async def _check_out(self) -> Pooled:
        """Acquire a connection whose files are still those at the path; others are closed."""
        for _ in range(self.options.pool_size + 1):
            pooled = await super()._check_out()
            try:
                cast("PooledAiosqlite", pooled.sql).check()
            except Unavailable:
                await uninterrupted(self._give(pooled))
            else:
                return pooled
        raise Unavailable("the database's file is replaced again and again", hint="find the process that replaces it")

    def _set_up(self, connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for setting in (f"synchronous = {self._synchronous}", "foreign_keys = ON", "journal_size_limit = 67108864"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    def _pooled(self, driver: object) -> PooledConnection:
        return PooledAiosqlite(cast("SyncConnection", driver), self.options)

    def _writing(self) -> AbstractAsyncContextManager[None]:
        return self._queue(self.options.lock_timeout_seconds)

    @asynccontextmanager
    async def _queue(self, seconds: float) -> AsyncIterator[None]:
        if self._writer is None:
            raise ConfigurationError("the database is not open", hint="await database.open() first")
        try:
            async with asyncio.timeout(seconds):
                await self._writer.acquire()
        except TimeoutError as error:
            if not self._holds_lock:
                raise locked_by_another(self.file, seconds) from error
            raise Unavailable(
                f"another transaction of this process held the write lock longer than {seconds} s",
                hint="keep transactions short, and do not begin one inside another",
            ) from error
        try:
            yield
        finally:
            self._holds_lock = False
            self._writer.release()

    async def _begin(self) -> Pooled:
        pooled = await super()._begin()
        self._holds_lock = True
        return pooled

    async def _check_server(self, sql: SqlConnection) -> None:
        if sqlite3.sqlite_version_info < _VERSION_MIN:
            raise ConfigurationError(
                f"SQLite {sqlite3.sqlite_version} is older than {'.'.join(map(str, _VERSION_MIN))}",
                hint="use a Python that is linked against a newer one",
            )
        tables = {row[0] for row in await sql.fetch("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if tables >= _TABLES_OF_A_BROKER and "freehold_meta" not in tables:
            raise ConfigurationError(
                "the file belongs to an embedded broker", hint="give the service's database a file of its own"
            )
        mode = await self._switch_to_wal(sql)
        if mode != "wal":
            raise ConfigurationError(
                f"the file system does not permit WAL (journal_mode is '{mode}')", hint="put the file on a local disk"
            )

    async def _switch_to_wal(self, sql: SqlConnection) -> str:
        """Switch the file to WAL, and return its journal mode. SQLite itself does not wait when two connections switch
        a new file at once: one of them gets the error immediately.
        """
        deadline = time.monotonic() + self.options.lock_timeout_seconds
        while True:
            try:
                return str((await sql.fetch("PRAGMA journal_mode = WAL"))[0][0])
            except Unavailable:
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_SWITCH_SECONDS)  # a file lock sends no signal


def _stranger() -> Unavailable:
    return Unavailable(
        "the database is away: its file was replaced by one that is not this service's database",
        hint="move the service's own file, or a backup of it, back to its place",
    )


def _in_transaction(driver: Any) -> bool:
    return bool(driver.in_transaction)
