"""Writes what the source says over drifted rows of a copy. Pattern: imports the database port and its own package.

Each write is a compare-and-set on the row as it was found drifted. If the consumer has changed it meanwhile, it is
newer than what is known here, and stays.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from freehold.database import Database, SqlConnection, UnitOfWork
from freehold.errors import DeclarationError
from freehold.reconcile.dataset import Copy
from freehold.reconcile.side import FullRow, same_key

__all__ = ["CopyRepair", "Recorded"]

Recorded = Callable[[UnitOfWork, Sequence[str]], Awaitable[None]]
"""Records, in the repair's own transaction, which keys were written."""


class CopyRepair:
    """Repairs a copy in a table; `recorded` is called in the transaction of each repair."""

    def __init__(self, database: Database, copy: Copy, recorded: Recorded) -> None:
        self._database = database
        self._recorded = recorded
        dataset = copy.dataset
        names = [copy.column(name) for name in (dataset.key, *dataset.fields)]
        count = len(names)
        places = ", ".join(f"${number}" for number in range(1, count + 1))
        changes = ", ".join(f"{name} = ${number}" for number, name in enumerate(names[1:], 2))
        self._insert = f"INSERT INTO {copy.table} ({', '.join(names)}) VALUES ({places}) ON CONFLICT DO NOTHING"  # noqa: S608 - identifiers are checked when declared
        row = same_key(database, copy)
        self._update = f"UPDATE {copy.table} SET {changes} WHERE {row} AND {_same(names[1:], count + 1)}"  # noqa: S608 - as above
        self._delete = f"DELETE FROM {copy.table} WHERE {row} AND {_same(names[1:], 2)}"  # noqa: S608 - as above

    async def repair(self, wrong: Mapping[str, tuple[FullRow | None, FullRow | None]]) -> Sequence[str]:
        """Repair rows, in one transaction: by key what the source has and what the copy had, None for no row. Returns
        the keys that were written.
        """
        written: list[str] = []
        async with self._database.begin() as unit:
            sql = _sql_of(unit)
            for key, (right, found) in wrong.items():
                if right is None:
                    touched = await sql.execute(self._delete, found or (key,))
                elif found is None:
                    touched = await sql.execute(self._insert, right)
                else:
                    touched = await sql.execute(self._update, (*right, *found[1:]))
                if touched:
                    written.append(key)
            if written:
                await self._recorded(unit, written)
        return written


def _sql_of(unit: UnitOfWork) -> SqlConnection:
    found: SqlConnection | None = getattr(unit, "sql", None)
    if found is None:
        raise DeclarationError("datasets lie in tables, and this database does not speak SQL")
    return found


def _same(names: Sequence[str], first: int) -> str:
    return " AND ".join(f"{name} IS NOT DISTINCT FROM ${number}" for number, name in enumerate(names, first))
