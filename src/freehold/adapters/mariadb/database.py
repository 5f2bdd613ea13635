"""The `Database` port on MariaDB: asyncmy behind SQLAlchemy's pool. Imports the base of the SQL adapters.

Transactions are READ COMMITTED. A statement that defines tables commits, so a migration is no transaction: each of its
statements commits by itself and may be run again, under a lock of the session that runs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final, cast
from weakref import WeakValueDictionary

import asyncmy
from asyncmy.connection import Connection
from asyncmy.constants import CLIENT
from asyncmy.errors import OperationalError
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from freehold.adapters.mariadb.catalogue import expected, found, relations
from freehold.adapters.mariadb.connection import AsyncmyConnection, PooledAsyncmy, session_settings
from freehold.adapters.mariadb.dialect import MariaDbDialect
from freehold.adapters.mariadb.doctor import run_checks
from freehold.adapters.mariadb.errors import reason_of, translate_error
from freehold.adapters.mariadb.probe import write_row
from freehold.adapters.mariadb.rights import examine_rights, grants
from freehold.adapters.mariadb.statements import joined
from freehold.adapters.mariadb.url import parse_url
from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.engine.database import EngineDatabase
from freehold.adapters.sql.engine.enlistment import enlist_alchemy
from freehold.adapters.sql.engine.packaged import packaged_schema
from freehold.adapters.sql.engine.pool import RESERVED, PooledConnection, reserved_connection, uninterrupted
from freehold.adapters.sql.engine.transaction import OwnedTransaction
from freehold.adapters.sql.handles.foreign import foreign, once_in_transaction
from freehold.adapters.sql.inspection.catalogue import Catalogue
from freehold.clock import Clock
from freehold.database import CheckResult, DatabaseFeatures, DatabaseOptions, DatabaseTransaction
from freehold.errors import ConfigurationError, FreeholdError, OperationTimeout, Unavailable
from freehold.ids import stable_hash
from freehold.migrations import Migration

__all__ = ["FEATURES", "MariaDbDatabase"]

FEATURES: Final = DatabaseFeatures(
    technology="MariaDB",
    emulation=False,
    durable=True,
    concurrent_writers=True,
    several_processes=True,
    transactional_ddl=False,
    apart="give each service a database of its own",
)
_VERSION_MIN: Final = (10, 11)
_MIGRATION_SECONDS: Final = 600
_RECYCLE_SECONDS: Final = 1800
_LOST: Final = 2013
_SERVER: Final = "SELECT VERSION(), @@global.wsrep_on"


class MariaDbDatabase(EngineDatabase):
    """One service's MariaDB database."""

    def __init__(
        self, url: str, options: DatabaseOptions, migrations: Sequence[Migration] = (), clock: Clock | None = None
    ) -> None:
        self._url = parse_url(url)
        own = packaged_schema("freehold.adapters.mariadb", "mariadb")
        super().__init__(MariaDbDialect(clock), options, own, migrations)
        self._packet_bytes_max = 2**24
        self._after: dict[int, list[Callable[[], Awaitable[None]]]] = {}
        self._by_driver: WeakValueDictionary[int, PooledAsyncmy] = WeakValueDictionary()

    @property
    def features(self) -> DatabaseFeatures:
        """What MariaDB guarantees, with `innodb_flush_log_at_trx_commit = 1`: `run_checks` looks at it."""
        return FEATURES

    def enlist(self, native: object) -> DatabaseTransaction:
        """Join a transaction of SQLAlchemy or asyncmy."""
        enlisted = enlist_alchemy(native, "mariadb", translate_error, _in_transaction, joined)
        if enlisted is not None:
            return enlisted
        if isinstance(native, Connection):
            connection = native
            if connection.get_autocommit() and not connection.get_transaction_status():
                raise ConfigurationError(
                    "the asyncmy connection is in autocommit mode and in no transaction",
                    hint="await connection.begin() first",
                )
            statements = AsyncmyConnection(connection, self.options, self._packet_bytes_max)
            return foreign(native, statements, once_in_transaction(connection.get_transaction_status))
        raise ConfigurationError(
            f"a {type(native).__name__} cannot be joined",
            hint="a SQLAlchemy AsyncSession or AsyncConnection over mariadb+asyncmy, or an asyncmy connection",
        )

    def translate_error(self, error: BaseException) -> FreeholdError | None:
        """Translate errors of asyncmy, and of SQLAlchemy over it."""
        return translate_error(error)

    async def grants(self, role: str, schema: str | None = None) -> list[str]:
        """The statements that let a user do what run time needs."""
        async with self.direct() as sql:
            return await grants(sql, role, schema)

    async def run_checks(self) -> list[CheckResult]:
        """Check the server's version and settings, and the rights of the user."""
        steps = [(f"freehold/{step.name}", step.for_dialect("mariadb")) for step in self._packaged.tables]
        async with self.direct() as sql:
            return [*await run_checks(sql), *await examine_rights(sql, self.expected(steps).tables)]

    async def probe(self, timeout_seconds: float) -> None:
        """Write a row and commit it. On the reserved connection: those of the pool may all wait for a lock."""
        with reserved_connection():
            try:
                async with asyncio.timeout(timeout_seconds), self.begin() as db_tx:
                    await write_row(db_tx.sql)
            except TimeoutError as error:
                raise OperationTimeout(f"the database did not take a row within {timeout_seconds:g} s") from error

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[SqlConnection]:
        """Statements that each commit by themselves, under a lock that ends with the connection at the latest."""
        async with self._session() as sql:
            await self.lock_migrations(sql)
            yield sql

    @asynccontextmanager
    async def defining(
        self, *, lock_seconds: int, seconds: float | None = None, reserved: bool = False
    ) -> AsyncIterator[SqlConnection]:
        """Statements that define tables, each of which commits by itself, with time limits of their own. Locks that
        they take by name end with the block. `reserved`: on the reserved connection, beside a transaction that is open.
        """
        async with self._session(reserved=reserved) as sql:
            if seconds is not None:
                sql.allow(seconds)
                await sql.execute(f"SET SESSION max_statement_time = {seconds:.3f}")
            await sql.execute(f"SET SESSION lock_wait_timeout = {lock_seconds}")
            yield sql

    @asynccontextmanager
    async def _session(self, *, reserved: bool = False) -> AsyncIterator[PooledAsyncmy]:
        """A connection that is closed at the end: locks by name, and time limits, belong to the session."""
        with reserved_connection() if reserved else nullcontext():
            pooled = await self._check_out()
        try:
            yield cast("PooledAsyncmy", pooled.sql)
        finally:
            pooled.spent = True
            await uninterrupted(self._give(pooled))

    def after_commit(self, db_tx: DatabaseTransaction, call: Callable[[], Awaitable[None]]) -> None:
        """Have something done once a transaction of this database has committed, before its block is left.

        Raises `ConfigurationError` for a transaction that Freehold does not end.
        """
        if not db_tx.owned:
            raise ConfigurationError(
                "a projection's views cannot be changed in a transaction that was joined",
                hint="change them in a transaction of Freehold's own",
            )
        self._after.setdefault(id(db_tx.life), []).append(call)

    async def _commit(self, db_tx: OwnedTransaction) -> None:
        calls = self._after.pop(id(db_tx.life), ())
        await super()._commit(db_tx)
        for call in calls:
            await call()

    async def _end_rolled_back(self, db_tx: OwnedTransaction) -> None:
        self._after.pop(id(db_tx.life), None)
        await super()._end_rolled_back(db_tx)

    async def lock_migrations(self, sql: SqlConnection) -> None:
        """Take the lock of the session; DDL waits no longer than others do, but may run longer."""
        if isinstance(sql, PooledAsyncmy):
            sql.allow(_MIGRATION_SECONDS)
        await sql.execute(f"SET SESSION max_statement_time = {_MIGRATION_SECONDS}")
        # The name is of the whole server, 64 characters at most.
        name = stable_hash(f"freehold.migrations/{self._url.url.database}")
        ((got,),) = await sql.fetch("SELECT GET_LOCK($1, $2)", (f"freehold.migrations/{name}", _MIGRATION_SECONDS))
        if got != 1:
            raise Unavailable("another process migrates this database", hint="try again when it has ended")

    def reason_of(self, error: BaseException) -> str:
        """What the engine says of a statement of a migration."""
        return reason_of(error)

    def expected(self, steps: Sequence[tuple[str, Sequence[str]]]) -> Catalogue:
        """Tables and columns, read from the text of Freehold's own steps."""
        return expected(tuple((label, tuple(statements)) for label, statements in steps))

    async def found(self, sql: SqlConnection, expected: Catalogue) -> Catalogue:
        """What the server's catalogue says."""
        return await found(sql.fetch)

    async def relations(self, names: Sequence[str]) -> dict[str, str]:
        """What the server's catalogue says."""
        async with self.direct() as sql:
            return await relations(sql.fetch, names)

    async def _connect_driver(self, *arguments: Any, **keywords: Any) -> Connection:
        """Connect in a task of its own: `asyncio.wait_for`, which asyncmy uses, can lose a cancellation on Python 3.11,
        and whoever was cancelled would go on. A connection that nobody waits for any more is closed.
        """
        connecting = asyncio.ensure_future(self._connect_and_prepare(*arguments, **keywords))
        try:
            await asyncio.wait({connecting})
        except asyncio.CancelledError:
            connecting.cancel()
            connecting.add_done_callback(_close)
            raise
        return connecting.result()

    async def _connect_and_prepare(self, *arguments: Any, **keywords: Any) -> Connection:
        try:
            connection: Connection = await asyncmy.connect(*arguments, **keywords)
        except RuntimeError as error:
            # uvloop's, for a socket that the server reset while it was being set up; asyncmy lets it through.
            raise OperationalError(_LOST, "the connection was lost while it was made") from error
        try:
            async with asyncio.timeout(self._connect_seconds):
                cursor = connection.cursor()
                await cursor.execute(session_settings(self.options))
                await cursor.execute("SELECT @@max_allowed_packet")
                self._packet_bytes_max = int((await cursor.fetchall())[0][0])
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def _connect_seconds(self) -> float:
        return self._url.connect_timeout_seconds or self.options.connect_timeout_seconds

    def _create_engine(self) -> AsyncEngine:
        engine = create_async_engine(
            self._url.url,
            isolation_level="AUTOCOMMIT",
            pool_size=self.options.pool_size + RESERVED,
            max_overflow=0,
            pool_timeout=self.options.pool_timeout_seconds,
            pool_recycle=_RECYCLE_SECONDS,
            pool_reset_on_return=None,
            skip_autocommit_rollback=True,
            hide_parameters=True,
            connect_args={
                **self._url.arguments,
                "async_creator_fn": self._connect_driver,
                "autocommit": True,
                "charset": "utf8mb4",
                "client_flag": CLIENT.FOUND_ROWS,
                "connect_timeout": self._connect_seconds,
            },
        )
        event.listen(engine.sync_engine, "handle_error", self._note_failure)
        return engine

    def _note_failure(self, context: ExceptionContext) -> None:
        """A user's statement through SQLAlchemy runs past our connection, whose transaction an error may have ended."""
        if context.connection is None or context.original_exception is None:
            return
        driver = getattr(context.connection.connection.dbapi_connection, "driver_connection", None)
        pooled = self._by_driver.get(id(driver))
        if pooled is not None and pooled.driver is driver:
            pooled.failed_with(context.original_exception)

    def _pooled(self, driver: object) -> PooledConnection:
        connection = cast("Connection", driver)
        pooled = PooledAsyncmy(connection, self.options, self._packet_bytes_max)
        self._by_driver[id(connection)] = pooled
        return pooled

    async def _check_server(self, sql: SqlConnection) -> None:
        version, galera = (await sql.fetch(_SERVER))[0]
        found = tuple(int(part) for part in str(version).partition("-")[0].split(".")[:2])
        if "mariadb" not in str(version).lower():
            raise ConfigurationError(f"the server is no MariaDB ({version})", hint="name one in the database URL")
        if found < _VERSION_MIN:
            raise ConfigurationError(f"MariaDB {version} is older than 10.11", hint="upgrade the server")
        if galera:
            raise ConfigurationError(
                "the server is one of several that all write (Galera)", hint="use a single primary, with replicas"
            )


def _in_transaction(driver: Any) -> bool:
    return bool(driver.get_transaction_status())


def _close(connecting: asyncio.Future[Connection]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()
