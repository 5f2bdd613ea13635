"""Locks on what has no row: a key, a name. They end with the transaction. Imports the engine's `connection`, `dialect`.

Engines keep them by number. Two names that share a number wait for each other without need, which does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.engine.dialect import Dialect

__all__ = ["key_numbers", "try_lock"]


def key_numbers(dialect: Dialect, space: str, keys: Iterable[str]) -> list[int]:
    """The numbers of the locks of some keys, in the order in which all take them: two cannot wait in a circle."""
    return sorted({dialect.lock_number(f"{space}{key}") for key in keys})


async def try_lock(sql: SqlConnection, dialect: Dialect, name: str) -> bool:
    """Take the lock of a name for this transaction. False where another transaction has it; never waits."""
    return bool((await sql.fetch(dialect.alone_sql, (dialect.lock_number(name),)))[0][0])
