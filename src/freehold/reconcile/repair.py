"""Writes what the source says over drifted rows of a copy. Pattern: imports the database port and its own package.

Each row is read again under its lock, and written only where it is as it was found drifted. If the consumer has changed
it meanwhile, it is newer than what is known here, and stays.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from freehold.database import Database, SqlConnection, UnitOfWork
from freehold.errors import DeclarationError
from freehold.reconcile.dataset import Copy
from freehold.reconcile.field_value import stored
from freehold.reconcile.side import FullRow, read_row, same_key, selected

__all__ = ["CopyRepair", "Recorded"]

Recorded = Callable[[UnitOfWork, Sequence[str]], Awaitable[None]]
"""Records, in the repair's own transaction, which keys were written."""


class CopyRepair:
    """Repairs a copy in a table; `recorded` is called in the transaction of each repair.

    An engine with types of its own is given texts, and casts them to what its columns are: so values arrive whatever
    engine they come from.
    """

    def __init__(self, database: Database, copy: Copy, recorded: Recorded) -> None:
        self._database = database
        self._copy = copy
        self._recorded = recorded
        dataset = copy.dataset
        self._names = [copy.column(name) for name in (dataset.key, *dataset.fields)]
        self._row = same_key(database, copy)
        lock = " FOR UPDATE" if database.features.concurrent_writers else ""
        self._read = f"SELECT {selected(copy)} FROM {copy.table} WHERE {self._row}{lock}"  # noqa: S608 - identifiers are checked when declared
        self._delete = f"DELETE FROM {copy.table} WHERE {self._row}"  # noqa: S608 - as above

    async def repair(self, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]) -> Sequence[str]:
        """Repair rows, in one transaction: by key what the source has and what the copy had, None for no row. Returns
        the keys that were written.
        """
        written: list[str] = []
        async with self._database.begin() as unit:
            sql = _sql_of(unit)
            types = await self._types(sql)
            for key, (right, found) in wrong.items():
                if found is not None and not await self._is_still(sql, key, found):
                    continue
                if await self._write(sql, types, key, right, new=found is None):
                    written.append(key)
            if written:
                await self._recorded(unit, written)
        return written

    async def _types(self, sql: SqlConnection) -> Mapping[str, str]:
        statement = self._database.features.column_types_sql
        if not statement:
            return {}
        return {str(name): str(kind) for name, kind in await sql.fetch(statement, (self._copy.table,))}

    async def _is_still(self, sql: SqlConnection, key: str, found: FullRow) -> bool:
        rows = await sql.fetch(self._read, (key,))
        return [read_row(self._copy.dataset, row) for row in rows] == [found]

    async def _write(
        self, sql: SqlConnection, types: Mapping[str, str], key: str, right: FullRow | None, *, new: bool
    ) -> int:
        if right is None:
            return 0 if new else await sql.execute(self._delete, (key,))
        places = [
            f"${number}::text::{types[name]}" if name in types else f"${number}"
            for number, name in enumerate(self._names, 1)
        ]
        table, columns = self._copy.table, ", ".join(self._names)
        if new:
            statement = f"INSERT INTO {table} ({columns}) VALUES ({', '.join(places)}) ON CONFLICT DO NOTHING"  # noqa: S608 - as above, and types come from the engine's catalogue
        else:
            changes = ", ".join(f"{name} = {place}" for name, place in zip(self._names[1:], places[1:], strict=True))
            statement = f"UPDATE {table} SET {changes} WHERE {self._row}"  # noqa: S608 - as above
        return await sql.execute(statement, self._given(types, right))

    def _given(self, types: Mapping[str, str], right: FullRow) -> Sequence[object]:
        dataset = self._copy.dataset
        if types:
            return [None if value is None else _text(value) for value in right]
        kinds = [dataset.kind(name) for name in (dataset.key, *dataset.fields)]
        return [stored(kind, value) for kind, value in zip(kinds, right, strict=True)]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sql_of(unit: UnitOfWork) -> SqlConnection:
    found: SqlConnection | None = getattr(unit, "sql", None)
    if found is None:
        raise DeclarationError("datasets lie in tables, and this database does not speak SQL")
    return found
