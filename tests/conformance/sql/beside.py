"""Opens stores beside many rows, and says which queries cost more there. What they may cost is said in `ALLOWED`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
from tests.conformance.sql.queries import Seeded
from tests.conformance.sql.recorder import EXPLAINED
from tests.conformance.sql.seeding import GROWING, seed_postgres, seed_sqlite, write_sqlite

from freehold.database import DatabaseOptions
from freehold.outbox.store import OUTBOX
from freehold.runtime.adapters import open_stores

__all__ = ["ALLOWED", "ALLOWED_ON_POSTGRES", "Statistics", "on_postgres", "on_sqlite"]

Statistics = Literal["none", "of an empty table", "fresh"]
"""What the planner knows: nothing, what it saw before the rows came, or what is there."""

ALLOWED: Final = {
    "outbox_stats": "counts what waits: for people and metrics, on no message's way",
    "inbox_stats": "counts what waits, along one index",
    "inbox_prune": "once an interval it looks for messages that nobody woke, among those that wait",
    "dead_letters_count": "counts what waits for an operator, along one index",
    "dead_letters_backlog": "counts what waits for an operator, along one index",
    "saga_count": "counts instances by status, along one index",
    "saga_backlog": "counts instances that have not ended, along one index",
    "snapshots_kinds": "adds up sizes for an operator",
}
"""Queries that may read more where there is more, and why."""
ALLOWED_ON_POSTGRES: Final = ALLOWED | {
    "outbox_unsent": "for an operator who traces a message: the oldest of all, which no index has in one order",
    "dead_letters_find_any_status_of_a_type": "for an operator; fresh statistics promise one soon by time",
    "dead_letters_find_next_page": "without statistics it sorts what is left, two rows a microsecond",
    "dead_letters_find_next_page_of_a_type": "the same",
    "saga_find_definition": "the same",
}


@asynccontextmanager
async def on_sqlite(directory: Path, rows: int, statistics: Statistics) -> AsyncIterator[Seeded]:
    """Stores on a SQLite database with so many rows in each table."""
    file = directory / f"{rows}.db"
    stores = open_stores(f"sqlite:///{file}", DatabaseOptions())
    await stores.database.open()
    try:
        await stores.database.upgrade()
        if statistics == "of an empty table":
            write_sqlite(str(file), "ANALYZE")
        seed_sqlite(str(file), rows, stores[OUTBOX].partitions)
        if statistics == "fresh":
            write_sqlite(str(file), "ANALYZE")
        seeded = Seeded(stores, rows)
        await seeded.prepare()
        yield seeded
    finally:
        await stores.database.close()


@asynccontextmanager
async def on_postgres(url: str, rows: int, statistics: Statistics, *, explained: bool) -> AsyncIterator[Seeded]:
    """The same on PostgreSQL, where nothing is analysed but by us; `explained` has it tell its plans."""
    database = url.rpartition("/")[2]
    settings = EXPLAINED if explained else ()
    await _run(url, *(f"ALTER DATABASE {database} SET {name} = '{value}'" for name, value in settings))
    stores = open_stores(url, DatabaseOptions(pool_size=2, statement_timeout_seconds=60.0))
    await stores.database.open()
    try:
        await stores.database.upgrade()
        await _run(url, *(f"ALTER TABLE {table} SET (autovacuum_enabled = off)" for table in sorted(GROWING)))
        if statistics == "of an empty table":
            await _run(url, "VACUUM ANALYZE")
        await seed_postgres(url, rows, stores[OUTBOX].partitions)
        if statistics == "fresh":
            await _run(url, "VACUUM ANALYZE")
        seeded = Seeded(stores, rows)
        await seeded.prepare()
        yield seeded
    finally:
        await stores.database.close()


async def _run(url: str, *statements: str) -> None:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
