"""Statements that insert a row, and otherwise keep or change the existing one. Imports the standard library only.

Where another transaction has inserted the same key and is still open, they wait until it has ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["insert_absent", "insert_or_update"]

_ROW: Final = re.compile(r"\b(new|old)\.(?=\w)")


def insert_absent(insert: str) -> str:
    """An INSERT of the rows whose keys do not exist yet; its row count says how many.

    insert  the INSERT with its VALUES or SELECT. A SELECT needs a condition, at least `WHERE true`: without one SQLite
            reads the ON of `ON CONFLICT` as that of a join.
    """
    return f"{insert}\nON CONFLICT DO NOTHING"


def insert_or_update(table: str, insert: str, key: str, changes: Mapping[str, str], *, where: str = "") -> str:
    """An INSERT that changes the existing row instead, where there is one with the same key.

    key      the key's columns.
    changes  an expression for each column that changes. In these and in `where`, `new.column` is the value of the row
             to insert, `old.column` that of the existing row.
    where    a condition on the existing row; where it is false the row stays as it is.
    """
    assignments = ", ".join(f"{column} = {_named(table, changed)}" for column, changed in changes.items())
    condition = f"\nWHERE {_named(table, where)}" if where else ""
    return f"{insert}\nON CONFLICT ({key}) DO UPDATE SET {assignments}{condition}"


def _named(table: str, expression: str) -> str:
    names = {"new": "excluded", "old": table}
    return _ROW.sub(lambda found: f"{names[found[1]]}.", expression)
