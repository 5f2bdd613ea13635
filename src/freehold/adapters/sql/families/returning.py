"""Statements that change one row and return it. Imports the engine's `connection` and `dialect`.

An engine whose UPDATE returns nothing is asked for the row in a second statement, if there was one to change: inside
the transaction, which holds the row by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.adapters.sql.engine.connection import Row, SqlConnection
from freehold.adapters.sql.engine.dialect import Dialect

__all__ = ["UpdateReturning", "update_returning"]


@dataclass(frozen=True, slots=True)
class UpdateReturning:
    """What `update_returning` makes; `select` is empty where the update returns the row by itself."""

    update: str
    select: str

    async def fetch(self, sql: SqlConnection, parameters: Sequence[object], key: object) -> Sequence[Row]:
        """Change the row; returns it as it is then, or nothing where none fulfilled the conditions."""
        if not self.select:
            return await sql.fetch(self.update, parameters)
        return await sql.fetch(self.select, (key,)) if await sql.execute(self.update, parameters) else ()


def update_returning(dialect: Dialect, table: str, change: str, key: str, columns: str) -> UpdateReturning:
    """An UPDATE of `table`: `change` is SET and the condition, on the `key` (a column) among others."""
    update = f"UPDATE {table} {change}"
    if dialect.returns_updated:
        return UpdateReturning(f"{update} RETURNING {columns}", "")
    return UpdateReturning(update, f"SELECT {columns} FROM {table} WHERE {key} = $1")
