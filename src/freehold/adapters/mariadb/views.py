"""Materialized views on MariaDB, which has none: an emulation by tables. Imports the base of the SQL adapters and its
siblings.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from freehold.adapters.mariadb.database import MariaDbDatabase
from freehold.adapters.mariadb.marks import MARK, is_marked
from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.views import SqlViewStore, being_refreshed
from freehold.errors import ConfigurationError, PermissionDenied
from freehold.ids import stable_hash
from freehold.projection.view_store import MaterializedView, ViewState

__all__ = ["MariaDbViewStore"]

_HURRY_SECONDS: Final = 1
_THERE: Final = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = $1"
_DIGEST: Final = "SELECT digest FROM freehold_view WHERE name = $1"


class MariaDbViewStore(SqlViewStore):
    """A table that is built again at each refresh, beside the old one, whose name it then takes: RENAME TABLE exchanges
    them at once.

    The new rows are read in a snapshot, and block nobody. The exchange waits for statements that read the old table,
    and those that come after it wait for the exchange: a second at most, then the refresh is given up and tried again.
    What is known of a view is written after the exchange; where a process dies in between, the next refresh repeats it.

    A user who may not create tables replaces the rows of the table that the owner has made, in one transaction: readers
    see the old rows until it commits. That writes each row twice, and a changed definition needs the owner.
    """

    emulated: ClassVar[bool] = True

    def __init__(self, database: MariaDbDatabase, dialect: Dialect) -> None:
        super().__init__(database, dialect)
        self._mariadb = database

    async def drop(self, name: str) -> bool:
        """The table, then what is known of it."""
        async with self._turn(name, None) as sql:
            rows = await sql.fetch(_DIGEST, (name,))
            if rows and rows[0][0]:
                await _remove(sql, name)
            return bool(await sql.execute("DELETE FROM freehold_view WHERE name = $1", (name,)))

    async def _refresh(self, view: MaterializedView) -> ViewState:
        async with self._turn(view.name, view.timeout_seconds) as sql:
            begun = time.monotonic()
            try:
                await self._renew(sql, view)
            except PermissionDenied:
                known = await sql.fetch(_DIGEST, (view.name,))
                if not known or known[0][0] != view.digest:
                    raise
                await self._replace_rows(sql, view)
            seconds = time.monotonic() - begun
            await sql.execute(self._refreshed, (self._dialect.now(), view.name, view.digest, seconds))
            return await self._read(sql, view.name)

    @asynccontextmanager
    async def _turn(self, name: str, seconds: float | None) -> AsyncIterator[SqlConnection]:
        """A connection that holds the lock of a view until it is closed. Raises `ConcurrencyConflict`."""
        async with self._mariadb.defining(lock_seconds=_HURRY_SECONDS, seconds=seconds) as sql:
            # The name of a lock is of the whole server, and has 64 characters at most.
            (database,) = (await sql.fetch("SELECT DATABASE()"))[0]
            lock = f"freehold.view/{stable_hash(f'{database}/{name}')}"
            if (await sql.fetch("SELECT GET_LOCK($1, 0)", (lock,)))[0][0] != 1:
                raise being_refreshed(name)
            yield sql

    @staticmethod
    async def _renew(sql: SqlConnection, view: MaterializedView) -> None:
        new, old = f"{view.name}__next", f"{view.name}__old"
        for name in (view.name, new, old):
            if await _is_there(sql, name) and not await is_marked(sql, None, name):
                raise ConfigurationError(
                    f"'{name}' exists already, and is no materialized view of Freehold's",
                    hint="rename it in a migration, or give the view another name",
                )
        await _remove(sql, new, old)
        columns = ", ".join(f"`{column}`" for column in view.key)
        await sql.execute(
            f"CREATE TABLE `{new}` (UNIQUE INDEX `{view.name}__key` ({columns})) ENGINE = InnoDB COMMENT = '{MARK}'"
            f" AS {view.definition}"
        )
        if await _is_there(sql, view.name):
            await sql.execute(f"RENAME TABLE `{view.name}` TO `{old}`, `{new}` TO `{view.name}`")
            await _remove(sql, old)
        else:
            await sql.execute(f"RENAME TABLE `{new}` TO `{view.name}`")

    @staticmethod
    async def _replace_rows(sql: SqlConnection, view: MaterializedView) -> None:
        """Replace the rows of a view whose table is as its definition says."""
        for statement in (
            "BEGIN",
            f"DELETE FROM `{view.name}`",
            f"INSERT INTO `{view.name}` {view.definition}",
            "COMMIT",  # where one fails, the connection is closed, which rolls back
        ):
            await sql.execute(statement)


async def _remove(sql: SqlConnection, *names: str) -> None:
    for name in names:
        if await is_marked(sql, None, name):
            await sql.execute(f"DROP TABLE `{name}`")


async def _is_there(sql: SqlConnection, name: str) -> bool:
    return bool(await sql.fetch(_THERE, (name,)))
