"""The base class of the stores on an SQL database. Imports `connection` and `dialect` of the engine, and the port."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import Row, SqlDatabase, sql_of
from freehold.adapters.sql.engine.dialect import Dialect
from freehold.database import DatabaseTransaction

__all__ = ["SqlStore", "newest", "storable"]

_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


class SqlStore:
    """A store with its database and dialect. Subclasses build their statements once, when they are made."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        self._database = database
        self._dialect = dialect

    async def _query(self, db_tx: DatabaseTransaction | None, sql: str, parameters: Sequence[object]) -> Sequence[Row]:
        """Run a query in a transaction, or, without one, on a direct connection; returns its rows."""
        if db_tx is not None:
            return await sql_of(db_tx).fetch(sql, parameters)
        async with self._database.direct() as direct:
            return await direct.fetch(sql, parameters)


def storable(text: str, characters_max: int) -> str:
    """A text that can be stored: cut off at a bound; surrogates (no UTF-8) and NUL (refused by PostgreSQL) replaced."""
    bounded = text[:characters_max]
    return bounded if bounded.isprintable() else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", bounded)


def newest(selected: str, order: str, limit: str, conditions: Sequence[str], statuses: Collection[str] = ()) -> str:
    """A statement for the first rows of `selected` in an order for which there is an index of (status, order).

    Several statuses are joined by UNION ALL, so that each is read along the index. With `status IN (…)` the engine
    would sort all rows.
    """
    tail = f"ORDER BY {order} LIMIT {limit}"
    if not statuses:
        return f"{selected} {_where(conditions)} {tail}"
    parts = [
        f"SELECT * FROM ({selected} {_where([*conditions, f'status = {each!r}'])} {tail}) AS s" for each in statuses
    ]
    return parts[0] if len(parts) == 1 else f"{' UNION ALL '.join(parts)} {tail}"


def _where(conditions: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""
