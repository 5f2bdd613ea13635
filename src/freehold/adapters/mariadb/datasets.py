"""Datasets on MariaDB, whose columns have collations. Imports the base of the SQL adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from freehold.adapters.mariadb.dialect import COLLATION
from freehold.adapters.sql.datasets import SqlDatasetStore
from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.errors import DeclarationError
from freehold.reconcile.dataset import DatasetTable
from freehold.reconcile.field_value import FieldKind

__all__ = ["MariaDbDatasetStore"]

_KEY: Final = """\
SELECT COLLATION_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = coalesce($1, DATABASE()) AND TABLE_NAME = $2 AND COLUMN_NAME = $3"""


class MariaDbDatasetStore(SqlDatasetStore):
    """The catalogue tells how a key column is compared: where it is compared by its bytes, its index serves; where it
    is not, each key is read and converted.
    """

    byte_order: ClassVar[str] = f"COLLATE {COLLATION}"
    document: ClassVar[str] = "{}"

    async def _key(self, sql: SqlConnection, table: DatasetTable) -> str:
        schema, _, plain = table.table.rpartition(".")
        column = table.column(table.dataset.key)
        found = await sql.fetch(_KEY, (schema or None, plain, column))
        if found and found[0][0] is None:
            raise DeclarationError(
                f"the keys of dataset '{table.dataset.name}' are no texts here",
                hint="name a column of text, that of a view for one: CAST(id AS CHAR)",
            )
        return column if found and found[0][0] == COLLATION else f"CONVERT({column} USING utf8mb4) {self.byte_order}"

    async def _types(self, sql: SqlConnection, table: str) -> Mapping[str, str]:
        return {}

    def _place(self, number: int, type: str | None) -> str:
        return f"${number}"

    def _given(self, kind: FieldKind, value: object) -> object:
        match kind:
            case FieldKind.BYTES:
                return bytes.fromhex(str(value).removeprefix("\\x"))
            case FieldKind.TIME:
                return str(value).removesuffix("Z").replace("T", " ")
            case FieldKind.PLAIN | FieldKind.DATE | FieldKind.DECIMAL | FieldKind.FLOAT | FieldKind.JSON:
                return value
