"""The reader of a MariaDB database: a read-only transaction with one snapshot. Imports asyncmy.

asyncmy needs an event loop: the reader has one of its own, so it is for threads that have none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncmy
from asyncmy.connection import Connection
from asyncmy.cursors import SSCursor

__all__ = ["MariaDbReader", "open_mariadb"]

_SESSION: Final = (
    # With these modes `"key"` is a name and `||` joins texts, as in SQL's standard.
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES,PIPES_AS_CONCAT', time_zone = '+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)


@contextlib.contextmanager
def open_mariadb(url: str, *, connect_seconds: int, page_rows: int) -> Iterator[MariaDbReader]:
    """Open a snapshot of the database of a `mariadb://` URL. Raises errors of asyncmy."""
    with asyncio.Runner() as runner:
        connection = runner.run(_connect(url, connect_seconds))
        try:
            yield MariaDbReader(runner, connection, page_rows)
        finally:
            connection.close()


class MariaDbReader:
    """Implements `freehold_shop.verify.readers.Reader`. The rows of one query are read before the next one begins."""

    dialect = "mariadb"

    def __init__(self, runner: asyncio.Runner, connection: Connection, page_rows: int) -> None:
        self._runner = runner
        self._connection = connection
        self._page_rows = page_rows

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """See `Reader`."""
        cursor = self._connection.cursor(cursor=SSCursor)
        try:
            self._runner.run(cursor.execute(query))
            while page := self._runner.run(cursor.fetchmany(self._page_rows)):
                yield from page
        finally:
            # The server sends all rows of a query before it reads the next one.
            self._runner.run(cursor.close())

    def ms(self, column: str) -> str:
        """See `Reader`."""
        return f"CAST(UNIX_TIMESTAMP({column}) * 1000 AS SIGNED)"

    def uuid(self, column: str) -> str:
        """See `Reader`: the column has its 16 bytes."""
        return f"CAST(CAST({column} AS UUID) AS CHAR)"


async def _connect(url: str, connect_seconds: int) -> Connection:
    place = urlsplit(url)
    connection = await asyncmy.connect(
        host=place.hostname,
        port=place.port or 3306,
        user=unquote(place.username or ""),
        password=unquote(place.password or ""),
        db=unquote(place.path[1:]),
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=connect_seconds,
    )
    cursor = connection.cursor()
    for statement in _SESSION:
        await cursor.execute(statement)
    return connection
