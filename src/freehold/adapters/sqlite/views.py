"""Materialized views on SQLite, emulated by tables. Imports the base of the SQL adapters."""

from __future__ import annotations

from typing import ClassVar

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.handles.guard import GuardedSql
from freehold.adapters.sql.views import TransactionalViewStore
from freehold.errors import ConfigurationError
from freehold.projection.view_store import MaterializedView

__all__ = ["SqliteViewStore"]


class SqliteViewStore(TransactionalViewStore):
    """Builds a new table at each refresh and replaces the old one, in one transaction.

    Readers see the old rows until the commit (WAL), but no other transaction can write while the query runs.
    """

    emulated: ClassVar[bool] = True

    async def _allow(self, sql: SqlConnection, seconds: float) -> None:
        if isinstance(sql, GuardedSql):
            sql.allow(seconds)

    async def _build(self, sql: SqlConnection, view: MaterializedView, *, known: bool) -> None:
        rows = await sql.fetch("SELECT type FROM sqlite_schema WHERE name = $1", (view.name,))
        if rows and (rows[0][0] != "table" or not known):
            raise ConfigurationError(
                f"'{view.name}' exists already, and is not a materialized view of Freehold",
                hint="rename it in a migration, or give the view another name",
            )
        await self._renew(sql, view)

    async def _renew(self, sql: SqlConnection, view: MaterializedView) -> None:
        columns = ", ".join(f'"{column}"' for column in view.key)
        for statement in (
            f'CREATE TABLE "{view.name}__next" AS {view.definition}',
            f'DROP TABLE IF EXISTS "{view.name}"',
            f'ALTER TABLE "{view.name}__next" RENAME TO "{view.name}"',
            f'CREATE UNIQUE INDEX "{view.name}__key" ON "{view.name}" ({columns})',
        ):
            await sql.execute(statement)

    async def _drop(self, sql: SqlConnection, name: str) -> None:
        await sql.execute(f'DROP TABLE IF EXISTS "{name}"')
