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
from freehold.adapters.sql.families.upsert import insert_one, inserted
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
    document: ClassVar[str] = "CAST({} AS text)"
    """A JSON column in a SELECT: cast to text where the driver would decode it."""

    @abstractmethod
    async def _types(self, sql: SqlConnection, table: str) -> Mapping[str, str]:
        """The types of a table's columns by name, for `_place`; empty where it needs none."""

    async def _key(self, sql: SqlConnection, table: DatasetTable) -> str:
        """The key column as an expression that the engine compares by its bytes."""
        return f"{table.column(table.dataset.key)} {self.byte_order}"

    @abstractmethod
    def _place(self, number: int, type: str | None) -> str:
        """The placeholder for a value that `_given` returned, for a column of this type."""

    @abstractmethod
    def _given(self, kind: FieldKind, value: object) -> object:
        """A canonical value as the driver takes it."""

    async def page(self, table: DatasetTable, after: str, through: str | None, limit: int) -> Sequence[FullRow]:
        """Read a page of rows by key, in one statement."""
        async with self._database.direct() as sql:
            key = await self._key(sql, table)
            start = f"{self._select(table)} WHERE {key} > $1"
            if through is None:
                rows = await sql.fetch(f"{start} ORDER BY {key} LIMIT $2", (after, limit))
            else:
                between = f"{start} AND {key} <= $2 ORDER BY {key} LIMIT $3"
                rows = await sql.fetch(between, (after, through, limit))
            if not rows and not after and through is None:
                await _check_empty(sql, table, key)
        return [canonical_row(table.dataset, row) for row in rows]

    async def rows(self, table: DatasetTable, keys: Sequence[str]) -> Sequence[FullRow]:
        """Read the rows of some keys, one statement for each: there are few of them."""
        found: list[FullRow] = []
        async with self._database.direct() as sql:
            statement = f"{self._select(table)} WHERE {_same_key(table, await self._key(sql, table))}"
            for key in keys:
                found += [canonical_row(table.dataset, row) for row in await sql.fetch(statement, (key,))]
        return found

    async def repair(
        self, db_tx: DatabaseTransaction, replica: Replica, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]
    ) -> Sequence[str]:
        """Correct the rows that are still wrong: each is read again under its lock. Returns the changed keys."""
        sql = sql_of(db_tx)
        types = await self._types(sql, replica.table)
        same = _same_key(replica, await self._key(sql, replica))
        written: list[str] = []
        for key, (right, found) in wrong.items():
            if found is not None and not await self._is_still(sql, replica, same, key, found):
                continue
            if await self._write(sql, replica, types, same, key, right, new=found is None):
                written.append(key)
        return written

    async def _is_still(self, sql: SqlConnection, replica: Replica, same: str, key: str, found: FullRow) -> bool:
        statement = f"{self._select(replica)} WHERE {same} {self._dialect.lock_rows}".rstrip()
        return [canonical_row(replica.dataset, row) for row in await sql.fetch(statement, (key,))] == [found]

    async def _write(
        self,
        sql: SqlConnection,
        replica: Replica,
        types: Mapping[str, str],
        same: str,
        key: str,
        right: FullRow | None,
        *,
        new: bool,
    ) -> bool:
        if right is None:
            return not new and bool(await sql.execute(f"DELETE FROM {replica.table} WHERE {same}", (key,)))
        columns = [replica.column(name) for name in _names(replica.dataset)]
        places = [self._place(number, types.get(name)) for number, name in enumerate(columns, 1)]
        kinds = map(replica.dataset.kind, _names(replica.dataset))
        given = [None if value is None else self._given(kind, value) for kind, value in zip(kinds, right, strict=True)]
        if new:
            insert = f"INSERT INTO {replica.table} ({', '.join(columns)}) VALUES ({', '.join(places)})"
            return await inserted(sql, self._dialect, insert_one(self._dialect, insert), given)
        changes = ", ".join(f"{name} = {place}" for name, place in zip(columns[1:], places[1:], strict=True))
        return bool(await sql.execute(f"UPDATE {replica.table} SET {changes} WHERE {same}", given))

    def _select(self, table: DatasetTable) -> str:
        columns = [(table.column(name), table.dataset.kind(name)) for name in _names(table.dataset)]
        read = ", ".join(self.document.format(name) if kind is FieldKind.JSON else name for name, kind in columns)
        return f"SELECT {read} FROM {table.table}"


async def _check_empty(sql: SqlConnection, table: DatasetTable, key: str) -> None:
    """Raise `DeclarationError` where no key was found although there are rows: SQLite sorts numbers before all
    texts, so they would never be compared.
    """
    if await sql.fetch(f"SELECT 1 FROM {table.table} LIMIT 1") and not await sql.fetch(
        f"SELECT 1 FROM {table.table} WHERE {key} > $1 LIMIT 1", ("",)
    ):
        raise DeclarationError(
            f"the keys of dataset '{table.dataset.name}' are not texts in this database, or are empty",
            hint="name a text column, for example of a view: CAST(id AS text)",
        )


def _same_key(table: DatasetTable, key: str) -> str:
    """The condition for the row with the key `$1`: by the column's index, and equal byte by byte."""
    return f"{table.column(table.dataset.key)} = $1 AND {key} = $1"


def _names(dataset: Dataset) -> Sequence[str]:
    return (dataset.key, *dataset.fields)
