"""Statements that delete a limited number of rows; their row count says how many. Imports its sibling `claim`."""

from __future__ import annotations

from freehold.adapters.sql.engine.dialect import Dialect
from freehold.adapters.sql.families.claim import change_chosen, change_unlocked

__all__ = ["prune", "prune_unlocked"]


def prune(dialect: Dialect, table: str, key: str, chosen: str, *, where: str = "") -> str:
    """A DELETE of the rows of `table` whose `key` `chosen` selects, up to its limit.

    where  one more condition on the deleted rows.
    """
    if not dialect.deletes_chosen:
        return _joined(table, key, chosen, where)
    return change_chosen(_delete(table, where), key, chosen)


def prune_unlocked(dialect: Dialect, table: str, key: str, chosen: str, *, where: str = "") -> str:
    """The same, without rows that others have locked, so that several instances can prune at the same time."""
    if not dialect.deletes_chosen:
        return _joined(table, key, f"{chosen} {dialect.lock_free_rows}", where)
    return change_unlocked(dialect, _delete(table, where), key, chosen)


def _delete(table: str, where: str) -> str:
    return f"DELETE FROM {table} WHERE{f' {where} AND' if where else ''}"


def _joined(table: str, key: str, chosen: str, where: str) -> str:
    """MariaDB knows no LIMIT in a list of keys: what is chosen is a table that is joined, and read first."""
    name = table.rpartition(" AS ")[2]
    columns = ", ".join(column.rpartition(".")[2] for column in key.strip("()").split(", "))
    condition = f"\nWHERE {where}" if where else ""
    return f"DELETE {name} FROM (\n{chosen}\n) AS chosen STRAIGHT_JOIN {table} USING ({columns}){condition}"
