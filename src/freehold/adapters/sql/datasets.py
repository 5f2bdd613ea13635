"""Datasets in the tables of an SQL database. Base of the SQL engines: imports its siblings and the port.

Names of tables and columns are checked where a dataset is declared; no other text of a user becomes part of a
statement. The engine's package says how texts are compared by their bytes, and how a canonical value becomes a value of
a column.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from freehold.adapters.sql.engine.connection import SqlConnection, sql_of
from freehold.adapters.sql.families.upsert import insert_absent
from freehold.adapters.sql.store import SqlStore
from freehold.database import DatabaseTransaction
from freehold.errors import DeclarationError
from freehold.reconcile.dataset import Dataset, DatasetTable, FullRow, Replica, canonical_row
from freehold.reconcile.dataset_store import DatasetStore
from freehold.reconcile.field_value import FieldKind

__all__ = ["SqlDatasetStore"]


class SqlDatasetStore(SqlStore, DatasetStore, ABC):
    """Reads rows in the byte order of their keys, and repairs replicas."""

    byte_order: ClassVar[str]
    """The clause behind a text column that makes the engine compare it by its bytes."""

    @abstractmethod
    async def _types(self, sql: SqlConnection, table: str) -> Mapping[str, str]:
        """The types of a table's columns by name, for `_place`; empty where it needs none."""

    @abstractmethod
    def _place(self, number: int, type: str | None) -> str:
        """The placeholder for a value that `_given` returned, for a column of this type."""

    @abstractmethod
    def _given(self, kind: FieldKind, value: object) -> object:
        """A canonical value as the driver takes it."""

    async def page(self, table: DatasetTable, after: str, through: str | None, limit: int) -> Sequence[FullRow]:
        """Read a page of rows by key, in one statement."""
        key = self._bytes(table)
        start = f"{_select(table)} WHERE {key} > $1"
        async with self._database.direct() as sql:
            if through is None:
                rows = await sql.fetch(f"{start} ORDER BY {key} LIMIT $2", (after, limit))
            else:
                between = f"{start} AND {key} <= $2 ORDER BY {key} LIMIT $3"
                rows = await sql.fetch(between, (after, through, limit))
            if not rows and not after and through is None:
                await self._check_empty(sql, table)
        return [canonical_row(table.dataset, row) for row in rows]

    async def rows(self, table: DatasetTable, keys: Sequence[str]) -> Sequence[FullRow]:
        """Read the rows of some keys, one statement for each: there are few of them."""
        statement = f"{_select(table)} WHERE {self._same_key(table)}"
        found: list[FullRow] = []
        async with self._database.direct() as sql:
            for key in keys:
                found += [canonical_row(table.dataset, row) for row in await sql.fetch(statement, (key,))]
        return found

    async def repair(
        self, db_tx: DatabaseTransaction, replica: Replica, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]
    ) -> Sequence[str]:
        """Correct the rows that are still wrong: each is read again under its lock. Returns the changed keys."""
        sql = sql_of(db_tx)
        types = await self._types(sql, replica.table)
        written: list[str] = []
        for key, (right, found) in wrong.items():
            if found is not None and not await self._is_still(sql, replica, key, found):
                continue
            if await self._write(sql, replica, types, key, right, new=found is None):
                written.append(key)
        return written

    async def _check_empty(self, sql: SqlConnection, table: DatasetTable) -> None:
        """Raise `DeclarationError` where no key was found although there are rows: SQLite sorts numbers before all
        texts, so they would never be compared.
        """
        if await sql.fetch(f"SELECT 1 FROM {table.table} LIMIT 1") and not await sql.fetch(
            f"SELECT 1 FROM {table.table} WHERE {self._bytes(table)} > $1 LIMIT 1", ("",)
        ):
            raise DeclarationError(
                f"the keys of dataset '{table.dataset.name}' are not texts in this database, or are empty",
                hint="name a text column, for example of a view: CAST(id AS text)",
            )

    async def _is_still(self, sql: SqlConnection, replica: Replica, key: str, found: FullRow) -> bool:
        statement = f"{_select(replica)} WHERE {self._same_key(replica)} {self._dialect.lock_rows}".rstrip()
        return [canonical_row(replica.dataset, row) for row in await sql.fetch(statement, (key,))] == [found]

    async def _write(
        self,
        sql: SqlConnection,
        replica: Replica,
        types: Mapping[str, str],
        key: str,
        right: FullRow | None,
        *,
        new: bool,
    ) -> int:
        if right is None:
            delete = f"DELETE FROM {replica.table} WHERE {self._same_key(replica)}"
            return 0 if new else await sql.execute(delete, (key,))
        columns = [replica.column(name) for name in _names(replica.dataset)]
        places = [self._place(number, types.get(name)) for number, name in enumerate(columns, 1)]
        if new:
            insert = f"INSERT INTO {replica.table} ({', '.join(columns)}) VALUES ({', '.join(places)})"
            statement = insert_absent(self._dialect, insert)
        else:
            changes = ", ".join(f"{name} = {place}" for name, place in zip(columns[1:], places[1:], strict=True))
            statement = f"UPDATE {replica.table} SET {changes} WHERE {self._same_key(replica)}"
        kinds = map(replica.dataset.kind, _names(replica.dataset))
        given = [None if value is None else self._given(kind, value) for kind, value in zip(kinds, right, strict=True)]
        return await sql.execute(statement, given)

    def _bytes(self, table: DatasetTable) -> str:
        return f"{table.column(table.dataset.key)} {self.byte_order}"

    def _same_key(self, table: DatasetTable) -> str:
        """The condition for the row with the key `$1`: by the column's index, and equal byte by byte."""
        return f"{table.column(table.dataset.key)} = $1 AND {self._bytes(table)} = $1"


def _names(dataset: Dataset) -> Sequence[str]:
    return (dataset.key, *dataset.fields)


def _select(table: DatasetTable) -> str:
    """The SELECT of a dataset's fields. JSON columns are cast to text, because a driver would decode them."""
    columns = ", ".join(
        f"CAST({table.column(name)} AS text)" if table.dataset.kind(name) is FieldKind.JSON else table.column(name)
        for name in _names(table.dataset)
    )
    return f"SELECT {columns} FROM {table.table}"
