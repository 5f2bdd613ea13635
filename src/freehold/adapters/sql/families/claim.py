"""Statements that choose rows, lock them, and change them. Imports the engine's `dialect`.

On an engine that locks rows, all chosen rows are locked before the first one is changed: either in the order of the
choice, so that two such statements cannot deadlock, or without those that others have locked, so that none waits. An
engine with one writer needs no locks.

`chosen` is a SELECT of key columns with its own ORDER BY and LIMIT. With locks it is a common table expression, which
is executed once. As a subquery in the condition PostgreSQL could execute it again for each row.
"""

from __future__ import annotations

from freehold.adapters.sql.engine.dialect import Dialect

__all__ = ["change_chosen", "change_in_order", "change_unlocked", "take"]


def change_in_order(dialect: Dialect, change: str, key: str, chosen: str, *, of: str, returning: str = "") -> str:
    """An UPDATE of the rows whose `key` is chosen; it waits for their locks.

    change  the UPDATE up to the condition on the key, which is added.
    of      the alias in `chosen` of the table whose rows are locked.
    """
    lock = f"{dialect.lock_rows} OF {of}" if dialect.lock_rows else ""
    return _change(change, key, chosen, lock, returning)


def change_unlocked(dialect: Dialect, change: str, key: str, chosen: str, *, returning: str = "") -> str:
    """The same for an UPDATE or DELETE that skips rows that others have locked; `chosen` reads one table."""
    return _change(change, key, chosen, dialect.lock_free_rows, returning)


def change_chosen(change: str, key: str, chosen: str) -> str:
    """The same without locks before the change: it waits for others that change the same rows."""
    return _change(change, key, chosen, "", "")


def take(dialect: Dialect, table: str, key: str, chosen: str, columns: str) -> str:
    """A DELETE of the chosen rows of `table` that returns their `columns` in no order; skips rows that are locked."""
    return change_unlocked(dialect, f"DELETE FROM {table} WHERE", key, chosen, returning=columns)


def _change(change: str, key: str, chosen: str, lock: str, returning: str) -> str:
    end = f"\nRETURNING {returning}" if returning else ""
    if not lock:
        return f"{change} {key} IN (\n{chosen}\n){end}"
    return f"WITH chosen AS MATERIALIZED (\n{chosen} {lock}\n)\n{change} {key} IN (SELECT * FROM chosen){end}"
