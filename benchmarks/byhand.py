"""SQLite by hand: the standard library in a thread of its own, with the same durability as Freehold."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = ["SqliteByHand"]

T = TypeVar("T")


class SqliteByHand:
    """One connection in write-ahead mode that flushes each commit to disk; calls run one after the other."""

    def __init__(self, path: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._path = path
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Connect."""

        def connect() -> None:
            self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=30.0)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")

        await self._run(connect)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        if self._connection is not None:
            await self._run(self._connection.close)
        self._thread.shutdown()

    async def work(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """Call `do` with the connection, in its thread."""
        connection = self._connection
        assert connection is not None
        return await self._run(lambda: do(connection))

    async def save(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows in a transaction."""

        def do(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, rows)
            connection.execute("COMMIT")

        await self.work(do)

    async def _run(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)
