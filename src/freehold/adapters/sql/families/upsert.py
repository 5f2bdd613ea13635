"""Statements that insert a row, or leave or change the one that is there. Imports the standard library only.

They wait for whoever inserts the same key, until that transaction has ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["insert_absent", "insert_or_update"]

_ROW: Final = re.compile(r"\b(new|old)\.(?=\w)")


def insert_absent(insert: str) -> str:
    """`insert`, an INSERT through its VALUES or SELECT, of rows whose keys are not there; the row count says how many.

    A SELECT has a condition, `WHERE true` at least: the engines could not tell it from a join otherwise.
    """
    return f"{insert}\nON CONFLICT DO NOTHING"


def insert_or_update(table: str, insert: str, key: str, changes: Mapping[str, str], *, where: str = "") -> str:
    """`insert`, and where the `key` (its columns) is there, `changes` of that row, where it fulfils a condition.

    changes  column to expression. In these, and in `where`, `new.column` is what was to be inserted, `old.column` what
             is there.
    """
    assignments = ", ".join(f"{column} = {_named(table, changed)}" for column, changed in changes.items())
    condition = f"\nWHERE {_named(table, where)}" if where else ""
    return f"{insert}\nON CONFLICT ({key}) DO UPDATE SET {assignments}{condition}"


def _named(table: str, expression: str) -> str:
    names = {"new": "excluded", "old": table}
    return _ROW.sub(lambda found: f"{names[found[1]]}.", expression)
