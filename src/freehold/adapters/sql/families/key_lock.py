"""Locks on keys and names that have no row. They end with the transaction. Imports the engine's `connection`,
`dialect`.

Engines identify them by numbers. Two names with the same number wait for each other without need, which is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable

from freehold.adapters.sql.engine.connection import SqlConnection
from freehold.adapters.sql.engine.dialect import Dialect

__all__ = ["key_numbers", "try_lock"]


def key_numbers(dialect: Dialect, space: str, keys: Iterable[str]) -> list[int]:
    """The lock numbers of some keys, in ascending order. All transactions lock in this order, so none can deadlock."""
    return sorted({dialect.lock_number(f"{space}{key}") for key in keys})


async def try_lock(sql: SqlConnection, dialect: Dialect, name: str) -> bool:
    """Acquire the lock of a name for this transaction. False where another transaction has it; never waits."""
    return bool((await sql.fetch(dialect.alone_sql, (dialect.lock_number(name),)))[0][0])
