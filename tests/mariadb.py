"""Databases for tests on MariaDB, which copies none: one that a test has left is emptied, and used again.

To make the library's tables takes longer than most tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import asyncmy

from freehold.runtime.adapters import open_stores

__all__ = ["MariaDbDatabases", "run_on"]

_TABLES = "SELECT TABLE_NAME, TABLE_TYPE, UPDATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
_KEPT = {
    "freehold_lock": "1 = 0",
    "freehold_object": "1 = 0",
    "freehold_meta": "name <> 'partitions'",
    "freehold_migration": "owner <> 'freehold'",
}
"""Tables of which rows are kept, with the condition of those that go."""

T = TypeVar("T")


class MariaDbDatabases:
    """Databases of one server. Its statements run in a thread: a fixture that asks for one may be in a loop itself."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._apart = ThreadPoolExecutor(1, "mariadb")
        self._free: list[str] = []
        self._tables: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._apart.shutdown()

    def take(self, *, empty: bool) -> str:
        """The URL of a database with the library's tables, or of an empty one."""
        if self._free and not empty:
            return self._free.pop()
        return self._run(self._made(empty=empty))

    def give_back(self, url: str) -> None:
        """Empty the tables for another test. A database whose tables are not as they were made is dropped."""
        if self._run(self._is_emptied(url)):
            self._free.append(url)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._apart.submit(asyncio.run, work).result()

    async def _made(self, *, empty: bool) -> str:
        name = f"test_{uuid4().hex[:12]}"
        url = f"{self._server_url.rpartition('/')[0]}/{name}"
        await run_on(self._server_url, f"CREATE DATABASE {name}")
        if not empty:
            database = open_stores(url).database
            await database.open()
            try:
                await database.upgrade()
            finally:
                await database.close()
            self._tables = frozenset(row[0] for row in await run_on(url, _TABLES))
        return url

    async def _is_emptied(self, url: str) -> bool:
        found = await run_on(url, _TABLES)
        if not self._tables or not self._tables <= {row[0] for row in found}:
            await run_on(self._server_url, f"DROP DATABASE {url.rpartition('/')[2]}")
            return False
        statements = ["SET FOREIGN_KEY_CHECKS = 0"]
        for table, kind, changed_at in found:
            if table not in self._tables:
                statements.append(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} `{table}`")
            elif table in _KEPT:
                statements.append(f"DELETE FROM `{table}` WHERE {_KEPT[table]}")
            elif changed_at is not None:
                # Deleted rows stay in the indexes until they are purged, and whoever inserts the same key locks the gap
                # beside them: so the tests of a suite would wait for what the test before them has left.
                statements.append(f"TRUNCATE TABLE `{table}`")
        await run_on(url, *statements)
        return True


async def run_on(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """The rows of the last statement; each commits by itself."""
    at = urlsplit(url)
    async with (
        asyncmy.connect(
            host=at.hostname, port=at.port, user=at.username, password=at.password, db=at.path[1:], autocommit=True
        ) as connection,
        connection.cursor() as cursor,
    ):
        for statement in statements:
            await cursor.execute(statement)
        return [tuple(row) for row in await cursor.fetchall()]
