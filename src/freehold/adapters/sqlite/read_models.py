"""Tables of read models on SQLite. Imports the base of the SQL adapters."""

from __future__ import annotations

import sqlalchemy as sa

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.read_models import TransactionalReadModelStore, quoted

__all__ = ["SqliteReadModelStore"]


class SqliteReadModelStore(TransactionalReadModelStore):
    """Replaces a view by DROP and CREATE. SQLite has no rights that this would lose, and readers do not wait."""

    async def _kind(self, sql: SqlConnection, table: sa.Table) -> str | None:
        rows = await sql.fetch("SELECT type FROM sqlite_schema WHERE name = $1", (str(table.name),))
        return str(rows[0][0]) if rows else None

    async def _is_visible(self, sql: SqlConnection, table: sa.Table) -> bool:
        return await self._kind(sql, table) is not None

    async def _reads(self, sql: SqlConnection, view: sa.Table, table: sa.Table) -> bool:
        rows = await sql.fetch("SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = $1", (str(view.name),))
        return bool(rows) and str(rows[0][0]).endswith(f" FROM {quoted(table)}")

    async def _hurry(self, sql: SqlConnection) -> None:
        return

    async def _replace(self, sql: SqlConnection, view: sa.Table, table: sa.Table, body: str) -> None:
        await sql.execute(f"DROP VIEW {quoted(view)}")
        await sql.execute(f"CREATE {body}")
