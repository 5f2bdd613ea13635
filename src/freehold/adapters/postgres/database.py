"""The `Database` port on PostgreSQL: asyncpg behind SQLAlchemy's pool. Imports the base of the SQL adapters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import asyncpg
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from freehold.adapters.postgres.builtin_types import TypedConnection
from freehold.adapters.postgres.catalogue import compare_views, found, relations, signatures
from freehold.adapters.postgres.connection import (
    AsyncpgConnection,
    PerStatementTransactions,
    PooledAsyncpg,
    time_limits,
)
from freehold.adapters.postgres.declared import expected
from freehold.adapters.postgres.dialect import PostgresDialect
from freehold.adapters.postgres.doctor import run_checks
from freehold.adapters.postgres.errors import BEHIND_A_PROXY, diagnose_connecting, reason_of, translate_error
from freehold.adapters.postgres.hints import PostgresHints, channel_name
from freehold.adapters.postgres.own_schema import QualifiedConnection, Schema, SchemaAsyncpg
from freehold.adapters.postgres.probe import (
    LeaseLocked,
    Locks,
    blockers,
    examine_locks,
    lock_error,
    locked,
    take_room,
    write_row,
)
from freehold.adapters.postgres.psycopg_connection import PsycopgConnection
from freehold.adapters.postgres.rights import examine_rights, grants
from freehold.adapters.postgres.sessions import ApartConnection
from freehold.adapters.postgres.tap import TAPS
from freehold.adapters.postgres.url import parse_url
from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.engine.database import EngineDatabase, checked_out
from freehold.adapters.sql.engine.enlistment import enlist_alchemy
from freehold.adapters.sql.engine.packaged import packaged_schema
from freehold.adapters.sql.engine.pool import RESERVED, PooledConnection, reserved_connection
from freehold.adapters.sql.engine.transaction import OwnedTransaction
from freehold.adapters.sql.handles.foreign import EnlistedTransaction, foreign, once_in_transaction
from freehold.adapters.sql.handles.guard import GuardedSql
from freehold.adapters.sql.inspection.catalogue import Catalogue
from freehold.clock import Clock
from freehold.database import CheckResult, DatabaseFeatures, DatabaseOptions, DatabaseTransaction
from freehold.errors import ConcurrencyConflict, ConfigurationError, FreeholdError, OperationTimeout
from freehold.hints import HintChannel
from freehold.migrations import Migration

__all__ = ["FEATURES", "PostgresDatabase"]

FEATURES: Final = DatabaseFeatures(
    technology="PostgreSQL",
    emulation=False,
    durable=True,
    concurrent_writers=True,
    several_processes=True,
    apart="give each service a database of its own, or a schema of its own (?schema=name in its URL)",
)
_PROVING: Final = replace(FEATURES, proves_death=True)
_VERSION_MIN: Final = 13
_SERVER: Final = (
    "SELECT current_setting('server_version_num')::integer,"
    " (SELECT setting FROM pg_settings WHERE name = 'statement_timeout')"
)
_SCHEMA_RIGHTS: Final = (
    "SELECT (SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace AS n WHERE n.nspname = $1::text)"
)
_MAY_CREATE: Final = "SELECT has_database_privilege(current_database(), 'CREATE'), current_user::text"
_MIGRATIONS: Final = "freehold.migrations"
_MIGRATION_SECONDS: Final = 600
_LOCKED_SECONDS: Final = 1.0
"""A lock that is held for a shorter time is taken for that of a schema change."""
_LOCK_PART: Final = 0.8
_LOCK_POLL_SECONDS: Final = 0.1
_RECYCLE_SECONDS: Final = 1800


class PostgresDatabase(EngineDatabase):
    """One service's PostgreSQL database. It may be behind a proxy that pools transactions: sessions keep no state.

    One exception: the locks that show that this process lives belong to a session. They are not used behind a proxy.
    """

    def __init__(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> None:
        self._url = parse_url(url)
        own = packaged_schema("freehold.adapters.postgres", "postgresql")
        self._schema = None if self._url.schema is None else Schema(self._url.schema, own.statements("postgresql"))
        super().__init__(PostgresDialect(clock, self._url.schema or ""), options, own, migrations)
        self._folds = TAPS and self._url.folds

    @property
    def features(self) -> DatabaseFeatures:
        """The features of PostgreSQL with `synchronous_commit` and `fsync` on, which `run_checks` checks."""
        return FEATURES if self.proxied else _PROVING

    @property
    def proxied(self) -> bool:
        """Whether the URL says that a proxy pools transactions, so that sessions are shared."""
        return self._url.proxied

    async def connect_apart(self) -> ApartConnection:
        """Open a connection outside of the pool, for state of a session. Raises the driver's errors."""
        engine = create_async_engine(
            self._url.url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args=self._connect_arguments()
        )
        try:
            connection, driver = await checked_out(engine)
        except BaseException:
            await engine.dispose()
            raise
        return ApartConnection(engine, connection, cast("asyncpg.Connection[Any]", driver))

    def hint_channel(self, service: str) -> HintChannel | None:
        """NOTIFY and LISTEN; None behind a proxy that pools transactions."""
        name = channel_name(service, self._url.schema or "")
        return None if self.proxied else PostgresHints(self.connect_apart, name)

    def enlist(self, native: object) -> DatabaseTransaction:
        """Enlist in a transaction of SQLAlchemy, asyncpg or psycopg. Raises `ConfigurationError` for anything else."""
        db_tx = self._joined(native)
        return db_tx if self._schema is None else replace(db_tx, sql=QualifiedConnection(db_tx.sql, self._schema))

    def _joined(self, native: object) -> EnlistedTransaction:
        joined = enlist_alchemy(native, "postgresql", translate_error, _in_transaction, bare=self._bare)
        if joined is not None:
            return joined
        if isinstance(native, asyncpg.Connection) or _is_pooled_asyncpg(native):
            connection = cast("asyncpg.Connection[Any]", native)
            if not connection.is_in_transaction():
                raise ConfigurationError(
                    "the asyncpg connection has no transaction", hint="async with connection.transaction(): ..."
                )
            return foreign(native, AsyncpgConnection(connection, self.options), connection.is_in_transaction)
        if _home(native) == "psycopg" and hasattr(native, "autocommit"):
            if native.autocommit and not _in_transaction(native):
                raise ConfigurationError(
                    "the psycopg connection is in autocommit mode, without a transaction",
                    hint="async with connection.transaction(): ...",
                )
            return foreign(native, PsycopgConnection(native), once_in_transaction(lambda: _in_transaction(native)))
        raise ConfigurationError(
            f"Freehold cannot enlist in a {type(native).__name__}",
            hint="pass an AsyncSession or AsyncConnection of SQLAlchemy, or a connection of asyncpg or psycopg",
        )

    def _bare(self, driver: object) -> SqlConnection | None:
        if isinstance(driver, asyncpg.Connection) and driver.is_in_transaction():
            return AsyncpgConnection(driver, self.options)
        return None

    def translate_error(self, error: BaseException) -> FreeholdError | None:
        """Translate errors of asyncpg, psycopg, and SQLAlchemy with them."""
        return translate_error(error)

    def _diagnose_connecting(self, error: BaseException) -> FreeholdError | None:
        return diagnose_connecting(error)

    async def grants(self, role: str, schema: str | None = None) -> list[str]:
        """The statements that grant a role the rights that run time needs."""
        async with self.direct() as sql:
            return await grants(sql, role, schema)

    async def run_checks(self) -> list[CheckResult]:
        """Check the server's version and settings, the rights of the role, and locks on tables."""
        async with self.direct() as sql:
            found = [*await run_checks(sql), *await examine_rights(sql)]
        locks = await self._staying_locked(_LOCKED_SECONDS)
        return [*found, examine_locks(locks, await self._blockers(locks))]

    async def probe(self, timeout_seconds: float) -> None:
        """Write a row and commit it, make the server write a temporary file, and check that no table of the schema is
        locked, including the service's own. Uses the reserved connection: all others may be waiting for the lock.
        """
        with reserved_connection():
            await self._probe(timeout_seconds)

    async def _probe(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        try:
            async with asyncio.timeout(timeout_seconds):
                with contextlib.suppress(ConcurrencyConflict):  # another process has written the same row
                    async with self.begin() as db_tx:
                        await write_row(db_tx.sql, timeout_seconds * _LOCK_PART)
                async with self.begin() as db_tx:
                    await take_room(db_tx.sql)
                left = max(0.0, deadline - time.monotonic()) * _LOCK_PART
                locks = await self._staying_locked(left)
        except TimeoutError as error:
            raise OperationTimeout(f"the database did not take a row within {timeout_seconds:g} s") from error
        except LeaseLocked as error:
            locks = await self._locked_now()
            raise lock_error(locks, timeout_seconds * _LOCK_PART, await self._blockers(locks)) from error
        if locks:
            raise lock_error(locks, left, await self._blockers(locks))

    async def _locked_now(self) -> Locks:
        """The locked tables; none where the server does not respond in time."""
        try:
            async with asyncio.timeout(_LOCKED_SECONDS), self.direct() as sql:
                return await locked(sql)
        except (TimeoutError, FreeholdError):
            return frozenset()

    async def _blockers(self, locks: Locks) -> Sequence[str]:
        """The sessions that hold the locks; none where the server does not respond in time."""
        if not locks:
            return ()
        try:
            async with asyncio.timeout(_LOCKED_SECONDS), self.direct() as sql:
                return await blockers(sql, locks)
        except (TimeoutError, FreeholdError):
            return ()

    async def _staying_locked(self, seconds: float) -> Locks:
        """The tables that the same session keeps locked against writes for so many seconds."""
        deadline = time.monotonic() + seconds
        async with self.direct() as sql:
            found = await locked(sql)
        while found and time.monotonic() < deadline:
            await asyncio.sleep(_LOCK_POLL_SECONDS)  # the server does not report the release of a lock
            async with self.direct() as sql:
                found &= await locked(sql)
        return found

    async def lock_migrations(self, sql: SqlConnection) -> None:
        """Acquire the advisory lock of migrations. The statements after it may run longer than usual, but wait for
        locks of tables no longer than usual.
        """
        if isinstance(sql, GuardedSql):
            sql.allow(_MIGRATION_SECONDS)
        await sql.execute(f"SET LOCAL statement_timeout = {_MIGRATION_SECONDS * 1000}")
        await sql.execute(f"SET LOCAL lock_timeout = {_MIGRATION_SECONDS * 1000}")
        await sql.execute(f"SET LOCAL idle_in_transaction_session_timeout = {_MIGRATION_SECONDS * 1000}")
        await sql.fetch("SELECT pg_advisory_xact_lock($1)", (self.dialect.lock_number(_MIGRATIONS),))
        await sql.execute(f"SET LOCAL lock_timeout = {round(self.options.lock_timeout_seconds * 1000)}")

    async def make_place(self, sql: SqlConnection) -> None:
        """Create the schema where it is missing. Raises `ConfigurationError` where the role may not."""
        if self._schema is None or (await sql.fetch(_SCHEMA_RIGHTS, (self._schema.name,)))[0][0] is not None:
            return
        ((may, role),) = await sql.fetch(_MAY_CREATE)
        if not may:
            raise ConfigurationError(
                f"the schema '{self._schema.name}' does not exist, and role '{role}' may not create it",
                hint=f'CREATE SCHEMA {self._schema.name} AUTHORIZATION "{role}", as the owner of the database',
            )
        await sql.execute(f'CREATE SCHEMA "{self._schema.name}"')

    def script(self, service: str, port: str | None = None) -> str:
        """The SQL that `upgrade` runs in an empty database; with the name of the schema, where the URL has one."""
        script = super().script(service, port)
        return script if self._schema is None else self._schema.qualified_once(script)

    def _place(self) -> Sequence[str]:
        if self._schema is None:
            return ()
        path = self._schema.path_sql(local=True).removeprefix("SELECT")
        return (f'CREATE SCHEMA IF NOT EXISTS "{self._schema.name}"', f"DO $$ BEGIN PERFORM{path}; END $$")

    async def signatures(self, sql: SqlConnection, functions: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The signatures of these functions, from the server's catalogue."""
        return await signatures(sql.fetch, functions)

    def reason_of(self, error: BaseException) -> str:
        """The server's message for a failed statement of a migration; empty where it may quote values."""
        return reason_of(error)

    def expected(self, steps: Sequence[tuple[str, Sequence[str]]]) -> Catalogue:
        """The catalogue that these steps make, read from their text."""
        in_schema = (lambda sql: sql) if self._schema is None else self._schema.qualified
        return expected(
            tuple((label, tuple(in_schema(each) for each in statements)) for label, statements in steps),
            self._url.schema or "",
        )

    async def found(self, sql: SqlConnection, expected: Catalogue) -> Catalogue:
        """The part of `expected` that is in the server's catalogue."""
        return await found(sql.fetch, self._url.schema or "", expected)

    async def look_closer(self, sql: SqlConnection, expected: Catalogue, found: Catalogue) -> None:
        """Compare views by the plans of their queries."""
        await compare_views(sql.fetch, expected, found)

    async def relations(self, names: Sequence[str]) -> dict[str, str]:
        """The kinds of the existing relations by name, from the server's catalogue."""
        async with self.direct() as sql:
            return await relations(sql.fetch, self._url.schema or "", names)

    async def _check_schema(self, sql: SqlConnection) -> None:
        if self._schema is not None and (await sql.fetch(_SCHEMA_RIGHTS, (self._schema.name,)))[0][0] is False:
            raise ConfigurationError(
                f"the role has no USAGE right on the schema '{self._schema.name}'",
                hint=f"GRANT USAGE ON SCHEMA {self._schema.name} to it; a role that runs upgrades needs CREATE too",
            )

    async def _connect_driver(self, *arguments: Any, **keywords: Any) -> asyncpg.Connection[Any]:
        """Connect and put the schema first in the search path. Not used behind a proxy, where sessions are shared."""
        driver: asyncpg.Connection[Any] = await asyncpg.connect(*arguments, **keywords)
        if self._schema is not None:
            try:
                await driver.execute(self._schema.path_sql(local=False), timeout=keywords.get("timeout"))
            except BaseException:
                driver.terminate()
                raise
        return driver

    def _create_engine(self) -> AsyncEngine:
        return create_async_engine(
            self._url.url,
            isolation_level="AUTOCOMMIT",
            pool_size=self.options.pool_size + RESERVED,
            max_overflow=0,
            pool_timeout=self.options.pool_timeout_seconds,
            pool_recycle=_RECYCLE_SECONDS,
            pool_reset_on_return=None,
            skip_autocommit_rollback=True,
            hide_parameters=True,
            connect_args=self._connect_arguments(),
        )

    def _connect_arguments(self) -> dict[str, Any]:
        timeout = self._url.connect_timeout_seconds or self.options.connect_timeout_seconds
        arguments = {**self._url.arguments, "timeout": timeout, "connection_class": TypedConnection}
        if self._schema is not None and not self._url.proxied:
            arguments["async_creator_fn"] = self._connect_driver
        if not self._url.proxied:
            arguments["server_settings"] = {**arguments.get("server_settings", {}), **time_limits(self.options)}
        return arguments

    def _pooled(self, driver: object) -> PooledConnection:
        connection, proxied = cast("asyncpg.Connection[Any]", driver), self._url.proxied
        if self._schema is not None:
            return SchemaAsyncpg(connection, self.options, self._schema, proxied=proxied)
        return PooledAsyncpg(connection, self.options, proxied=proxied)

    async def _send_commit(self, db_tx: OwnedTransaction) -> None:
        closing, connection = db_tx.closing, db_tx.pooled.sql
        if closing is None or not closing.calls or not isinstance(connection, PooledAsyncpg):
            await connection.commit()
            return
        closing.tell(await connection.commit_after(closing.calls))

    def _autocommitting(self, sql: PooledConnection) -> SqlConnection:
        if self._url.proxied and isinstance(sql, PooledAsyncpg):
            return PerStatementTransactions(sql)
        return sql

    async def _check_server(self, sql: SqlConnection) -> None:
        ((number, limit),) = await sql.fetch(_SERVER)
        if number < _VERSION_MIN * 10_000:
            raise ConfigurationError(
                f"PostgreSQL {number // 10_000} is older than {_VERSION_MIN}", hint="upgrade the server"
            )
        if not self._url.proxied and limit != time_limits(self.options)["statement_timeout"]:
            raise ConfigurationError("the session did not keep its time limits", hint=BEHIND_A_PROXY)
        await self._check_schema(sql)


def _home(native: object) -> str:
    return type(native).__module__.partition(".")[0]


def _is_pooled_asyncpg(native: object) -> bool:
    """Whether this is a connection of asyncpg's own pool: a wrapper with the connection's methods."""
    return _home(native) == "asyncpg" and hasattr(native, "is_in_transaction")


def _in_transaction(driver: Any) -> bool:
    if hasattr(driver, "is_in_transaction"):
        return bool(driver.is_in_transaction())
    return int(driver.info.transaction_status) != 0
