"""The `Database` port on a SQLAlchemy engine: pool, database transaction, direct statements, migrations.

Imports SQLAlchemy, the database port, the SQL base's `handles` and `inspection`, and its siblings. An engine's package
adds how it connects, wraps a driver connection, enlists in a user's transaction, and translates errors.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any
from weakref import WeakSet

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from freehold.adapters.sql.engine.connection import SqlConnection, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.engine.enlistment import watch_commits
from freehold.adapters.sql.engine.measurement import MeasuredEngine
from freehold.adapters.sql.engine.packaged import PackagedSchema
from freehold.adapters.sql.engine.pool import ConnectionPool, Pooled, PooledConnection, uninterrupted
from freehold.adapters.sql.engine.schema import Ledger
from freehold.adapters.sql.engine.script import port_script
from freehold.adapters.sql.engine.transaction import OwnedTransaction
from freehold.adapters.sql.handles.guard import Guard, GuardedSql
from freehold.adapters.sql.inspection.catalogue import Catalogue
from freehold.adapters.sql.inspection.inspector import Inspection
from freehold.crash_points import crash_point
from freehold.database import CheckResult, DatabaseFeatures, DatabaseOptions, DatabaseTransaction, Defect
from freehold.errors import ConfigurationError, FreeholdError, OperationTimeout, TransactionMisused, Unavailable
from freehold.life import Life, LifeState
from freehold.migrations import Migration
from freehold.origin import chain

__all__ = ["EngineDatabase", "checked_out"]

_GRACE_SECONDS = 5.0


class EngineDatabase(MeasuredEngine, ABC):
    """One service's database behind a bounded pool. Belongs to the event loop in which it was opened."""

    def __init__(
        self, dialect: Dialect, options: DatabaseOptions, own: PackagedSchema, service: Sequence[Migration]
    ) -> None:
        self.dialect = dialect
        self.options = options
        self._packaged = own
        self._ledger = Ledger(self, dialect, own, service)
        self._inspection = Inspection(self, self._ledger, dialect.clock, alters_columns=dialect.alters_columns)
        self._engine: AsyncEngine | None = None
        self._pool: ConnectionPool | None = None
        self._partitions = options.partitions
        self._served = False
        self._folds = False
        self._committed_at = -math.inf
        self._watched: WeakSet[Any] = WeakSet()

    @property
    @abstractmethod
    def features(self) -> DatabaseFeatures:
        """As the port says."""

    @abstractmethod
    def enlist(self, native: object) -> DatabaseTransaction:
        """As the port says."""

    def on_commit(self, native: object, call: Callable[[], None]) -> None:
        """As `freehold.database.CommitWatching` says."""
        watch_commits(native, self._watched, call)

    @abstractmethod
    def translate_error(self, error: BaseException) -> FreeholdError | None:
        """As the port says."""

    @abstractmethod
    async def grants(self, role: str, schema: str | None = None) -> list[str]:
        """As the port says."""

    @abstractmethod
    async def run_checks(self) -> list[CheckResult]:
        """As the port says."""

    @abstractmethod
    async def probe(self, timeout_seconds: float) -> None:
        """As the port says."""

    @abstractmethod
    def _create_engine(self) -> AsyncEngine:
        """Make the engine, in autocommit mode and with a bounded pool. Does not connect."""

    @abstractmethod
    def _pooled(self, driver: object) -> PooledConnection:
        """Wrap a driver connection of the pool."""

    @abstractmethod
    async def _check_server(self, sql: SqlConnection) -> None:
        """Check the server when the database is opened. Raises `ConfigurationError` where Freehold cannot use it."""

    @abstractmethod
    async def lock_migrations(self, sql: SqlConnection) -> None:
        """Keep other processes from migrating until the transaction ends."""

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[SqlConnection]:
        """Statements that change the schema, in one transaction, while no other process migrates."""
        async with self.begin() as db_tx:
            await self.lock_migrations(db_tx.sql)
            yield db_tx.sql

    async def make_place(self, sql: SqlConnection) -> None:
        """Create the schema for the tables where it is missing; nothing on an engine without schemas."""

    async def signatures(self, sql: SqlConnection, functions: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The signatures of these functions in the schema of the tables, by name, as DROP FUNCTION takes them; none on
        an engine without functions.
        """
        return {}

    @abstractmethod
    def reason_of(self, error: BaseException) -> str:
        """The engine's message for a failed statement of a migration; empty where it may quote values of a row."""

    @abstractmethod
    def expected(self, steps: Sequence[tuple[str, Sequence[str]]]) -> Catalogue:
        """The catalogue that these steps (label and statements) make in an empty database."""

    @abstractmethod
    async def found(self, sql: SqlConnection, expected: Catalogue) -> Catalogue:
        """The part of `expected` that is in the database."""

    async def look_closer(self, sql: SqlConnection, expected: Catalogue, found: Catalogue) -> None:
        """Add to `found` what the engine's catalogue does not show."""

    @abstractmethod
    async def relations(self, names: Sequence[str]) -> dict[str, str]:
        """As the port says."""

    @property
    def partitions(self) -> int:
        """The number of partitions of the outbox."""
        return self._partitions

    async def open(self) -> None:
        """Connect, check the server, and read the number of partitions."""
        if self._engine is not None:
            return
        self._engine = self._create_engine()
        self._measure_engine(self._engine)
        self._pool = ConnectionPool(self._connect, self.options.pool_size, self.options.pool_timeout_seconds)
        try:
            async with self.direct() as sql:
                await self._check_server(sql)
            await self._read_partitions()
            self._served = True
        except BaseException:
            await uninterrupted(self.close())
            raise

    async def close(self) -> None:
        """Close every connection."""
        engine, self._engine = self._engine, None
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        if engine is not None:
            await engine.dispose()

    async def ping(self, timeout_seconds: float) -> None:
        """Run `SELECT 1`. Raises `OperationTimeout` after `timeout_seconds`."""
        try:
            async with asyncio.timeout(timeout_seconds), self.direct() as sql:
                await sql.fetch("SELECT 1")
        except TimeoutError as error:
            raise OperationTimeout(f"the database did not answer within {timeout_seconds} s") from error

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[OwnedTransaction]:
        """Open a transaction, as `Database.begin` says."""
        async with self._writing():
            db_tx = OwnedTransaction(await self._begin(), folds=self._folds)
            crash_point("database.begun")
            try:
                yield db_tx
                db_tx.life.seal()
            except BaseException as error:
                self._mistrust(db_tx.pooled, error)
                crash_point("database.before-rollback")
                await uninterrupted(self._end_rolled_back(db_tx))
                known = self.translate_error(error)
                if known is None or known is error:
                    raise
                raise known from error
            else:
                await uninterrupted(self._commit(db_tx))

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[SqlConnection]:
        """A connection on which each statement commits by itself."""
        pooled = await self._check_out()
        life = Life("the direct connection")
        guard = Guard(life)
        try:
            yield GuardedSql(guard, self._autocommitting(pooled.sql))
        except BaseException as error:
            self._mistrust(pooled, error)
            raise
        finally:
            life.end(LifeState.CLOSED)
            if guard.busy:
                await uninterrupted(guard.settle(self._settle_seconds))
            if not self._give_at_once(pooled):
                await uninterrupted(self._give(pooled))

    async def upgrade(self, service: str | None = None) -> list[str]:
        """Apply the missing migrations: Freehold's, then the service's."""
        applied = await self._ledger.upgrade(self.options.partitions, service)
        await self._read_partitions()
        return applied

    async def owner(self) -> str | None:
        """The owner that `freehold_meta` records."""
        return await self._ledger.owner()

    async def mark(self, db_tx: DatabaseTransaction, service: str, *, instead_of: str) -> None:
        """Change the owner that `freehold_meta` records."""
        await self._ledger.mark(sql_of(db_tx), service, instead_of)

    async def pending(self) -> list[str]:
        """The names of the migrations that `upgrade` would apply."""
        return await self._ledger.pending()

    def script(self, service: str, port: str | None = None) -> str:
        """The SQL that `upgrade` runs in an empty database."""
        if port is not None:
            return port_script(self._packaged, port)
        return self._ledger.script(self.options.partitions, service, self._place())

    def _place(self) -> Sequence[str]:
        """Statements that create the schema for the tables of a script."""
        return ()

    async def defects(self, *, closer: bool = True) -> list[Defect]:
        """The differences between the database and what the applied migrations made."""
        return await self._inspection.defects(closer=closer)

    async def repair(self) -> list[str]:
        """Repair the defects whose repair loses no data."""
        return await self._inspection.repair()

    def _diagnose_connecting(self, error: BaseException) -> FreeholdError | None:
        """Translate an exception from making a connection."""
        return self.translate_error(error)

    def _writing(self) -> AbstractAsyncContextManager[None]:
        """A lock that a transaction acquires before its connection: the queue of an engine with one writer."""
        return nullcontext()

    def _autocommitting(self, sql: PooledConnection) -> SqlConnection:
        """The connection that `direct` yields for a pooled one."""
        return sql

    async def _read_partitions(self) -> None:
        stored = await self._ledger.partitions()
        self._partitions = self.options.partitions if stored is None else stored

    async def _check_out(self) -> Pooled:
        """Acquire a connection; broken ones are replaced."""
        if self._pool is None:
            raise ConfigurationError("the database is not open", hint="await database.open() first")
        return await self._pool.acquire()

    def _give_at_once(self, pooled: Pooled) -> bool:
        return self._pool is not None and self._pool.release_nowait(pooled)

    async def _give(self, pooled: Pooled) -> None:
        if self._pool is None:
            await pooled.give_back()
        else:
            await self._pool.release(pooled)

    async def _connect(self) -> Pooled:
        if self._engine is None:
            raise ConfigurationError("the database is not open", hint="await database.open() first")
        try:
            holder, driver = await checked_out(self._engine)
        except (OSError, TimeoutError) as error:
            raise Unavailable(
                f"the database cannot be reached: {_why(error)}", hint="is the server running?"
            ) from error
        except Exception as error:
            known = self._diagnose_connecting(error)
            if known is None:
                raise
            if self._served and isinstance(known, ConfigurationError):
                # The settings were right when the database was opened: a password is being rotated, or a database
                # restored.
                known = Unavailable(f"the database refuses connections: {known.message}", hint=known.hint)
            raise known from error
        return Pooled(holder, self._measured(self._pooled(driver)), time.monotonic())

    async def _begin(self) -> Pooled:
        """Begin a transaction. Where the connection is lost, try the next one: BEGIN itself has no effect."""
        for _ in range(self.options.pool_size + 1):
            pooled = await self._check_out()
            try:
                await pooled.sql.begin()
            except BaseException as error:
                self._mistrust(pooled, error)
                lost = pooled.sql.broken and isinstance(error, Unavailable) and not isinstance(error, OperationTimeout)
                await uninterrupted(self._roll_back(pooled))
                if not lost:
                    raise
            else:
                return pooled
        raise Unavailable("every connection of the pool was lost", hint="the server may be restarting; try again")

    def _mistrust(self, pooled: Pooled, error: BaseException) -> None:
        """Mark a connection as spent where the engine reported an outage on it.

        A connection that was opened while the disk or the server was read-only stays read-only afterwards, and so does
        one to a server that became a standby. A new connection does not.
        """
        reported = (each for each in chain(error) if not isinstance(each, FreeholdError))
        if any(isinstance(self.translate_error(each), Unavailable) for each in reported):
            pooled.spent = True

    async def _commit(self, db_tx: OwnedTransaction) -> None:
        how = LifeState.COMMITTED
        try:
            if db_tx.guard.busy:
                await db_tx.guard.settle(self._settle_seconds)
            crash_point("database.before-commit")
            await self._send_commit(db_tx)
            crash_point("database.committed")
            self._committed_at = time.monotonic()
        except BaseException as error:
            self._mistrust(db_tx.pooled, error)
            how = LifeState.UNKNOWN if isinstance(error, Unavailable | TransactionMisused) else LifeState.ROLLED_BACK
            await db_tx.pooled.sql.rollback()
            raise
        finally:
            db_tx.life.end(how)
            await self._give(db_tx.pooled)

    async def _send_commit(self, db_tx: OwnedTransaction) -> None:
        """Commit, with the statements of `closing`."""
        await db_tx.pooled.sql.commit()

    async def _end_rolled_back(self, db_tx: OwnedTransaction) -> None:
        db_tx.life.end(LifeState.ROLLED_BACK)
        if db_tx.guard.busy:
            await db_tx.guard.settle(self._settle_seconds)
        await self._roll_back(db_tx.pooled)

    async def _roll_back(self, pooled: Pooled) -> None:
        try:
            await pooled.sql.rollback()
        finally:
            await self._give(pooled)

    @property
    def _settle_seconds(self) -> float:
        """How long a statement that another task has started may still run."""
        return self.options.statement_timeout_seconds + _GRACE_SECONDS


async def checked_out(engine: AsyncEngine) -> tuple[AsyncConnection, object]:
    """Check a connection out of an engine; returns it and its driver connection. Closes it on error or cancellation."""
    holder = await engine.connect()
    try:
        return holder, (await holder.get_raw_connection()).driver_connection
    except BaseException:
        await uninterrupted(holder.close())
        raise


def _why(error: OSError) -> str:
    """The reason why a connection failed, as a text without addresses."""
    if isinstance(error, socket.gaierror):
        return "its host name is not known"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    found = re.search(r"\[Errno (\d+)\]", str(error))  # asyncio joins the errors of several addresses into one text
    number = error.errno or (int(found.group(1)) if found else 0)
    return os.strerror(number).lower() if number else type(error).__name__
