"""Enlistment in a transaction that a user opened with SQLAlchemy. Imports SQLAlchemy, the errors, the SQL base's
`handles`, and its sibling `connection`.

Statements go through `exec_driver_sql`, so that SQLAlchemy begins its transaction as it does for the user's own
statements, and knows that one is open. Once the driver's connection is in that transaction, they may go to it directly:
SQLAlchemy's layers cost more than the statement. Nothing here commits or rolls back.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

from freehold.adapters.sql.engine.connection import Row, SqlConnection
from freehold.adapters.sql.handles.connection import TransactionHandle
from freehold.adapters.sql.handles.foreign import EnlistedTransaction, enlisted_connection, enlisted_session
from freehold.errors import ConfigurationError, FreeholdError

__all__ = ["AlchemyConnection", "Bare", "Diagnose", "Rewrite", "enlist_alchemy", "question_marks", "watch_commits"]

Diagnose = Callable[[BaseException], FreeholdError | None]
Bare = Callable[[Any], SqlConnection | None]
"""Statements on a driver's connection which SQLAlchemy has put into a transaction; None where it has not."""
Rewrite = Callable[[str, Sequence[object]], tuple[str, Any]]
"""A statement and its values as an engine's only driver takes them."""

_PLACEHOLDER = re.compile(r"\$(\d+)")


@lru_cache(maxsize=512)
def question_marks(sql: str) -> str:
    """The statement with SQLite's placeholders: `?1` for `$1`."""
    return _PLACEHOLDER.sub(r"?\1", sql)


@lru_cache(maxsize=512)
def _percents(sql: str) -> str:
    """The statement with psycopg's placeholders: `%(p1)s` for `$1`."""
    return _PLACEHOLDER.sub(r"%(p\1)s", sql.replace("%", "%%"))


def enlist_alchemy(
    native: object,
    dialect: str,
    translate_error: Diagnose,
    in_transaction: Callable[[Any], bool],
    rewrite: Rewrite | None = None,
    bare: Bare | None = None,
) -> EnlistedTransaction | None:
    """Enlist in the transaction of a SQLAlchemy session or connection; None where `native` is neither."""
    if isinstance(native, async_scoped_session):
        native = native()
    if isinstance(native, AsyncSession):
        session = native

        async def of_session() -> AsyncConnection:
            await _begin_outside_savepoints(session, in_transaction)
            return await session.connection()

        statements = AlchemyConnection(of_session, dialect, translate_error, in_transaction, rewrite, bare)
        return enlisted_session(session, statements)
    if isinstance(native, TransactionHandle):
        return EnlistedTransaction(native, native.db_tx.sql, native.db_tx.guard.life)
    if isinstance(native, AsyncConnection):
        connection = native
        _refuse_autocommit(connection, dialect, in_transaction)

        async def itself() -> AsyncConnection:
            await _begin_explicitly(connection, in_transaction)
            return connection

        statements = AlchemyConnection(itself, dialect, translate_error, in_transaction, rewrite, bare)
        return enlisted_connection(connection, statements)
    return None


def watch_commits(native: object, watched: WeakSet[Any], call: Callable[[], None]) -> None:
    """Call `call` at each commit of a SQLAlchemy session or connection; other objects report no commits.

    Each session or connection gets one listener, whatever the number of calls: it may live as long as the process.
    `watched` remembers those that have one.
    """
    if isinstance(native, AsyncSession):
        target: Any = native.sync_session
        name = "after_commit"
    elif isinstance(native, AsyncConnection) and native.sync_connection is not None:
        target, name = native.sync_connection, "commit"
    else:
        return
    if target not in watched:
        watched.add(target)
        event.listen(target, name, lambda _target: call())


async def _begin_outside_savepoints(session: AsyncSession, in_transaction: Callable[[Any], bool]) -> None:
    """On SQLite, begin the transaction before a savepoint that the session wants and has not made yet.

    In its own transaction mode sqlite3 executes BEGIN only before the first INSERT, UPDATE or DELETE, and not at all
    after a SAVEPOINT. The release of that savepoint would then commit.
    """
    sync = session.sync_session
    root = sync.get_transaction()
    if sync.in_nested_transaction() and root is not None and sync.get_bind().dialect.name == "sqlite":
        outer = await session.run_sync(lambda _sync: root.connection(None))
        await session.run_sync(lambda _sync: _say_begin(outer, in_transaction))


async def _begin_explicitly(connection: AsyncConnection, in_transaction: Callable[[Any], bool]) -> None:
    """On SQLite, begin the transaction of a connection."""
    if connection.dialect.name == "sqlite":
        await connection.run_sync(_say_begin, in_transaction)


def _say_begin(connection: Connection, in_transaction: Callable[[Any], bool]) -> None:
    adapted: Any = connection.connection.dbapi_connection
    if adapted.isolation_level is not None and not in_transaction(adapted.driver_connection):
        connection.exec_driver_sql("BEGIN")


class AlchemyConnection:
    """Runs statements on a SQLAlchemy connection. `source` returns it; a session acquires it at the first statement."""

    def __init__(
        self,
        source: Callable[[], Awaitable[AsyncConnection]],
        dialect: str,
        translate_error: Diagnose,
        in_transaction: Callable[[Any], bool],
        rewrite: Rewrite | None = None,
        bare: Bare | None = None,
    ) -> None:
        self._rewrite = rewrite
        self._bare = bare
        self._source = source
        self._dialect = dialect
        self._diagnose = translate_error
        self._in_transaction = in_transaction
        self._checked = False

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows that it changed."""
        connection = await self._checked_connection()
        direct = self._direct(connection)
        if direct is not None:
            return await direct.execute(sql, parameters)
        return int((await self._run(connection, sql, parameters)).rowcount)

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        connection = await self._checked_connection()
        direct = self._direct(connection)
        if direct is not None:
            return await direct.fetch(sql, parameters)
        return [tuple(row) for row in (await self._run(connection, sql, parameters)).all()]

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters."""
        if rows:
            await self._run(await self._checked_connection(), sql, *rows, many=True)

    async def _checked_connection(self) -> AsyncConnection:
        try:
            connection = await self._source()
            if not self._checked:
                _refuse_autocommit(connection, self._dialect, self._in_transaction)
                self._checked = True
        except FreeholdError:
            raise
        except Exception as error:
            known = self._diagnose(error)
            if known is None:
                raise
            raise known from error
        return connection

    def _direct(self, connection: AsyncConnection) -> SqlConnection | None:
        """The driver's connection, once it is in SQLAlchemy's transaction."""
        if self._bare is None or connection.sync_connection is None:
            return None
        return self._bare(connection.sync_connection.connection.driver_connection)

    async def _run(self, connection: AsyncConnection, sql: str, *rows: Sequence[object], many: bool = False) -> Any:
        try:
            statement, bound = _rewritten(connection.dialect.driver, sql, rows, self._rewrite)
            return await connection.exec_driver_sql(statement, bound if many else bound[0] or None)
        except FreeholdError:
            raise
        except Exception as error:
            known = self._diagnose(error)
            if known is None:
                raise
            raise known from error


def _rewritten(
    driver: str, sql: str, rows: Sequence[Sequence[object]], rewrite: Rewrite | None
) -> tuple[str, list[Any]]:
    if rewrite is not None:
        given = [rewrite(sql, row) for row in rows]
        return given[0][0], [values for _, values in given]
    match driver:
        case "asyncpg":
            return sql, [tuple(row) for row in rows]
        case "psycopg" | "psycopg_async":
            named = [{f"p{number}": value for number, value in enumerate(row, 1)} for row in rows]
            return _percents(sql), list(named)
        case "aiosqlite":
            return question_marks(sql), [tuple(row) for row in rows]
        case _:
            raise ConfigurationError(
                f"Freehold cannot enlist in a SQLAlchemy connection over the driver '{driver}'",
                hint="use asyncpg, psycopg or aiosqlite",
            )


def _refuse_autocommit(connection: AsyncConnection, dialect: str, in_transaction: Callable[[Any], bool]) -> None:
    """Raise `ConfigurationError` for a connection to another engine, or one in autocommit mode.

    In autocommit mode a staged message would be sent although the user rolls back.
    """
    if connection.dialect.name != dialect:
        raise ConfigurationError(
            f"the connection is to {connection.dialect.name}, and the service's database is {dialect}",
            hint="enlist a connection to the service's own database: messages are staged there",
        )
    sync = connection.sync_connection
    if sync is None:
        raise ConfigurationError("the SQLAlchemy connection is not started", hint="async with engine.begin() as ...")
    adapted: Any = sync.connection.dbapi_connection
    if _commits_itself(adapted, dialect) and not in_transaction(adapted.driver_connection):
        raise ConfigurationError(
            "the SQLAlchemy connection is in AUTOCOMMIT mode", hint="open one with `async with engine.begin()`"
        )


def _commits_itself(adapted: Any, dialect: str) -> bool:
    match dialect:
        case "sqlite":
            return adapted.isolation_level is None
        case "mariadb":
            return bool(adapted.get_autocommit())
        case _:
            return bool(adapted.autocommit)
