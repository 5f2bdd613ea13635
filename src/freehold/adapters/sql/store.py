"""What every store on an SQL database stands on. Imports the engine's `connection` and `dialect`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from freehold.adapters.sql.engine.connection import SqlDatabase
from freehold.adapters.sql.engine.dialect import Dialect

__all__ = ["SqlStore", "newest", "storable"]

_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


class SqlStore:
    """The database and its dialect. Statements are built once, when the store is made."""

    def __init__(self, database: SqlDatabase, dialect: Dialect) -> None:
        self._database = database
        self._dialect = dialect


def storable(text: str, characters_max: int) -> str:
    """A text for people, cut off at a bound, without what is no UTF-8 and the one character that PostgreSQL does not
    store.
    """
    bounded = text[:characters_max]
    return bounded if bounded.isprintable() else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", bounded)


def newest(selected: str, order: str, limit: str, conditions: Sequence[str], statuses: Collection[str] = ()) -> str:
    """A statement for the first rows of `selected` in an order that ends an index which begins with the status.

    Of several statuses each is read along the index by itself: a list of them would have all rows sorted.
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
