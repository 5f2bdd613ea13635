"""Statements that choose rows, lock them, and change them. Imports the engine's `dialect`.

Where an engine locks rows, the rows are chosen and locked before the first of them is changed: in the order of the
choice, so that two such statements cannot deadlock, or passing over what others have locked, so that they do not wait
for each other. An engine with one writer needs neither.

What is chosen is a SELECT of key columns, with its own ORDER BY and LIMIT. With locks it stands before the statement
and is read once: inside the condition PostgreSQL could read it again for each row.
"""

from __future__ import annotations

from freehold.adapters.sql.engine.dialect import Dialect

__all__ = ["change_chosen", "change_in_order", "change_unlocked", "take"]


def change_in_order(dialect: Dialect, change: str, key: str, chosen: str, *, of: str, returning: str = "") -> str:
    """`change`, an UPDATE up to its condition's last part, for the rows whose `key` is chosen; waits for their locks.

    of  the alias in `chosen` of the table whose rows are locked.
    """
    lock = f"{dialect.lock_rows} OF {of}" if dialect.lock_rows else ""
    return _change(change, key, chosen, lock, returning)


def change_unlocked(dialect: Dialect, change: str, key: str, chosen: str, *, returning: str = "") -> str:
    """The same for an UPDATE or DELETE that passes over rows that others have locked; `chosen` is of one table."""
    return _change(change, key, chosen, dialect.lock_free_rows, returning)


def change_chosen(change: str, key: str, chosen: str) -> str:
    """The same without locks before the change: where others change the rows too, it waits for them."""
    return _change(change, key, chosen, "", "")


def take(dialect: Dialect, table: str, key: str, chosen: str, columns: str) -> str:
    """Delete the rows of `table` that are chosen, and return their `columns`, in no order."""
    return change_unlocked(dialect, f"DELETE FROM {table} WHERE", key, chosen, returning=columns)


def _change(change: str, key: str, chosen: str, lock: str, returning: str) -> str:
    end = f"\nRETURNING {returning}" if returning else ""
    if not lock:
        return f"{change} {key} IN (\n{chosen}\n){end}"
    return f"WITH chosen AS MATERIALIZED (\n{chosen} {lock}\n)\n{change} {key} IN (SELECT * FROM chosen){end}"
