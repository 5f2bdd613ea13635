"""Materialized views of PostgreSQL, refreshed without blocking readers. Imports the base of the SQL adapters."""

from __future__ import annotations

from typing import ClassVar, Final

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.handles.guard import GuardedSql
from freehold.adapters.sql.views import TransactionalViewStore
from freehold.errors import ConfigurationError
from freehold.projection.view_store import MaterializedView

__all__ = ["PostgresViewStore"]

_RELATION: Final = "to_regclass(quote_ident(current_schema()) || '.' || quote_ident($1::text))"
"""The relation with the name `$1` in the schema where views are created: the first of the search path."""


class PostgresViewStore(TransactionalViewStore):
    """Uses `CREATE MATERIALIZED VIEW` with a unique index, and `REFRESH MATERIALIZED VIEW CONCURRENTLY`.

    A view with another definition is built beside the old one, and replaces it at the end of the same transaction. A
    refresh compares old and new rows by the unique index and writes the difference, so it costs more where more has
    changed. A role that does not own the view refreshes it by a function of the owner, and cannot build one.
    """

    emulated: ClassVar[bool] = False

    async def _allow(self, sql: SqlConnection, seconds: float) -> None:
        if isinstance(sql, GuardedSql):
            sql.allow(seconds)
        await sql.execute(f"SET LOCAL statement_timeout = {round(seconds * 1000)}")

    async def _build(self, sql: SqlConnection, view: MaterializedView, *, known: bool) -> None:
        rows = await sql.fetch(f"SELECT relkind::text FROM pg_class WHERE oid = {_RELATION}", (view.name,))
        if rows and (rows[0][0] != "m" or not known):
            raise ConfigurationError(
                f"'{view.name}' exists already, and is not a materialized view of Freehold",
                hint="rename it in a migration, or give the view another name",
            )
        columns = ", ".join(f'"{column}"' for column in view.key)
        for statement in (
            f'CREATE MATERIALIZED VIEW "{view.name}__next" AS {view.definition}',
            f'CREATE UNIQUE INDEX "{view.name}__nkey" ON "{view.name}__next" ({columns})',
            *([f'DROP MATERIALIZED VIEW "{view.name}"'] if rows else []),
            f'ALTER MATERIALIZED VIEW "{view.name}__next" RENAME TO "{view.name}"',
            f'ALTER INDEX "{view.name}__nkey" RENAME TO "{view.name}__key"',
        ):
            await sql.execute(statement)

    async def _renew(self, sql: SqlConnection, view: MaterializedView) -> None:
        if not await self._can_be_refreshed(sql, view.name):
            await self._build(sql, view, known=True)
        elif await self._is_owner(sql, view.name):
            await sql.execute(f'REFRESH MATERIALIZED VIEW CONCURRENTLY "{view.name}"')
        else:
            await sql.fetch(f"SELECT freehold_view_refresh({_RELATION})", (view.name,))

    @staticmethod
    async def _is_owner(sql: SqlConnection, name: str) -> bool:
        rows = await sql.fetch(f"SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = {_RELATION}", (name,))
        return bool(rows and rows[0][0])

    @staticmethod
    async def _can_be_refreshed(sql: SqlConnection, name: str) -> bool:
        """Whether the view exists, is filled, and has its unique index; a concurrent refresh fails otherwise.

        An operator or a restore may have left it in another state.
        """
        rows = await sql.fetch(
            "SELECT c.relispopulated AND EXISTS (SELECT 1 FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique"
            " AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL)"
            f" FROM pg_class AS c WHERE c.oid = {_RELATION} AND c.relkind = 'm'",
            (name,),
        )
        return bool(rows and rows[0][0])

    async def _drop(self, sql: SqlConnection, name: str) -> None:
        if (await sql.fetch(f"SELECT {_RELATION} IS NOT NULL", (name,)))[0][0]:
            await sql.execute(f'DROP MATERIALIZED VIEW "{name}"')
