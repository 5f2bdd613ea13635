"""Statements that delete some rows of many. Imports its sibling `claim`.

The number of rows is the row count of the statement.
"""

from __future__ import annotations

from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.claim import change_chosen, change_unlocked

__all__ = ["prune", "prune_unlocked"]


def prune(table: str, key: str, chosen: str, *, where: str = "") -> str:
    """Delete the rows of `table` whose `key` is among those that `chosen` selects, in its order and up to its limit.

    where  a condition on these rows besides.
    """
    return change_chosen(_delete(table, where), key, chosen)


def prune_unlocked(dialect: Dialect, table: str, key: str, chosen: str, *, where: str = "") -> str:
    """The same, passing over rows that others have locked, so that several instances prune side by side."""
    return change_unlocked(dialect, _delete(table, where), key, chosen)


def _delete(table: str, where: str) -> str:
    return f"DELETE FROM {table} WHERE{f' {where} AND' if where else ''}"
