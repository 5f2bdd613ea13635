"""Several processes open a new SQLite file at once: each of them waits for the lock of the others, within its limit.

SQLite itself does not wait there. It answers that the file is locked, as soon as another connection writes to a file
that is not in WAL mode yet.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from freehold.conformance.harness import has_to_wait
from freehold.database import DatabaseOptions
from freehold.errors import Unavailable
from freehold.runtime.adapters import open_stores


@pytest.fixture
def other(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else, which is writing to the new file."""
    with closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


async def _open(path: Path, limit_seconds: float) -> None:
    stores = open_stores(f"sqlite:///{path}", DatabaseOptions(lock_timeout_seconds=limit_seconds))
    try:
        await stores.database.open()
    finally:
        await stores.database.close()


async def test_a_new_file_that_another_process_writes_to_is_waited_for(
    tmp_path: Path, other: sqlite3.Connection
) -> None:
    opening = asyncio.create_task(_open(tmp_path / "new.db", 60.0))
    assert await has_to_wait(opening)
    other.execute("COMMIT")
    await asyncio.wait_for(opening, 60.0)


async def test_the_wait_for_a_new_file_has_a_limit(tmp_path: Path, other: sqlite3.Connection) -> None:
    with pytest.raises(Unavailable, match="locked"):
        await asyncio.wait_for(_open(tmp_path / "new.db", 0.1), 60.0)
