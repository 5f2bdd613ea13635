"""The mark of tables that Freehold has made beside its own, and may replace: their comment. Imports the SQL base."""

from __future__ import annotations

from typing import Final

from freehold.adapters.sql.engine.connection import SqlConnection

__all__ = ["MARK", "is_marked"]

MARK: Final = "made by Freehold"
"""What the comment ends with."""
_COMMENT: Final = (
    "SELECT TABLE_COMMENT FROM information_schema.TABLES"
    " WHERE TABLE_SCHEMA = coalesce($1, DATABASE()) AND TABLE_NAME = $2"
)


async def is_marked(sql: SqlConnection, schema: str | None, name: str) -> bool:
    """Whether a table bears it."""
    rows = await sql.fetch(_COMMENT, (schema, name))
    return bool(rows) and str(rows[0][0]).endswith(MARK)
