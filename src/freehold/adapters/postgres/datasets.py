"""Datasets on PostgreSQL, where values must have the type of their column. Imports the base of the SQL adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from freehold.adapters.sql.datasets import SqlDatasetStore
from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.reconcile.field_value import FieldKind

__all__ = ["PostgresDatasetStore"]

_TYPES: Final = """
SELECT a.attname::text, quote_ident(n.nspname) || '.' || quote_ident(t.typname)
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"""


class PostgresDatasetStore(SqlDatasetStore):
    """Writes values as texts that the engine casts to the types of its columns, so they may come from any engine. The
    names of the types are read from the catalogue.
    """

    byte_order: ClassVar[str] = 'COLLATE "C"'

    async def _types(self, sql: SqlConnection, table: str) -> Mapping[str, str]:
        return {str(name): str(kind) for name, kind in await sql.fetch(_TYPES, (table,))}

    def _place(self, number: int, type: str | None) -> str:
        return f"${number}" if type is None else f"${number}::text::{type}"

    def _given(self, kind: FieldKind, value: object) -> object:
        return str(value).lower() if isinstance(value, bool) else str(value)
