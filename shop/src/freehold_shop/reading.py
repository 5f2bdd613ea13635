"""Reading a service's database for its API: one statement, outside of any transaction, so that readers never queue.

Statements are SQL with `$1`, `$2` … on both engines. Imports Freehold's runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

from freehold.runtime import RunningService

__all__ = ["FRESH_SECONDS", "places", "read", "read_one"]

FRESH_SECONDS = 5.0
"""How long a read waits for what the caller's consistency token has seen; it answers with what there is then."""


class _Reader(Protocol):
    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Sequence[Any]]: ...


class _SqlDatabase(Protocol):
    def direct(self) -> AbstractAsyncContextManager[_Reader]: ...


async def read(
    running: RunningService, columns: Sequence[str], rest: str, parameters: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """`SELECT columns rest`, each row by column name. Raises what the database's port does."""
    database = cast("_SqlDatabase", running.stores.database)
    sql = f"SELECT {', '.join(columns)} {rest}"
    async with database.direct() as connection:
        rows = await connection.fetch(sql, parameters)
    return [dict(zip(columns, row, strict=True)) for row in rows]


async def read_one(
    running: RunningService, columns: Sequence[str], rest: str, parameters: Sequence[object] = ()
) -> Mapping[str, Any] | None:
    """The first row, or None."""
    rows = await read(running, columns, rest, parameters)
    return rows[0] if rows else None


def places(values: Sequence[object], first: int = 1) -> str:
    """`$1, $2, …` for an IN list; of nothing, an element that equals nothing."""
    return ", ".join(f"${number}" for number in range(first, first + len(values))) or "NULL"
