"""Datasets on SQLite, where a column takes values of any type. Imports the base of the SQL adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from freehold.adapters.sql.datasets import SqlDatasetStore
from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.reconcile.field_value import FieldKind

__all__ = ["SqliteDatasetStore"]


class SqliteDatasetStore(SqlDatasetStore):
    """Writes values in the same form as SQLAlchemy and SQLite's own functions."""

    byte_order: ClassVar[str] = "COLLATE BINARY"

    async def _types(self, sql: SqlConnection, table: str) -> Mapping[str, str]:
        return {}

    def _place(self, number: int, type: str | None) -> str:
        return f"${number}"

    def _given(self, kind: FieldKind, value: object) -> object:
        match kind:
            case FieldKind.BYTES:
                return bytes.fromhex(str(value).removeprefix("\\x"))
            case FieldKind.FLOAT:
                return float(str(value))
            case FieldKind.TIME:
                return str(value).removesuffix("Z").replace("T", " ")
            case FieldKind.PLAIN | FieldKind.DATE | FieldKind.DECIMAL | FieldKind.JSON:
                return value
