"""A user's psycopg connection, in the user's transaction. Imports the SQL base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freehold.adapters.postgres.errors import unreachable
from freehold.adapters.sql.engine.connection import Row

__all__ = ["PsycopgConnection"]


class PsycopgConnection:
    """A user's psycopg connection, in the user's transaction; a raw cursor takes `$1` unchanged."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement; returns the number of rows it touched."""
        async with self._cursor() as cursor:
            await self._run(cursor.execute(sql, parameters or None))
            return max(0, int(cursor.rowcount))

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement; returns its rows."""
        async with self._cursor() as cursor:
            await self._run(cursor.execute(sql, parameters or None))
            rows: Sequence[Row] = await cursor.fetchall()
            return rows

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement for each row of parameters, pipelined."""
        async with self._cursor() as cursor:
            await self._run(cursor.executemany(sql, rows))

    def _cursor(self) -> Any:
        from psycopg import AsyncRawCursor
        from psycopg.rows import tuple_row

        return AsyncRawCursor(self._driver, row_factory=tuple_row)

    async def _run(self, work: Any) -> None:
        try:
            await work
        except Exception as error:
            known = unreachable(error)
            if known is None:
                raise
            raise known from error
