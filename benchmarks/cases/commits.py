"""How many transactions have written something in databases of PostgreSQL. Imports the standard library only: the
statements are run by whichever driver there is.

They are the transactions that logical decoding finds in the server's log: savepoints, locks and reads are not among
them. The slot is made before what is counted, and read after it, so that it costs nothing meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

__all__ = ["COUNT", "DROP", "MAKE", "Commits", "counted_commits"]

MAKE: Final = "SELECT pg_create_logical_replication_slot('bench_' || current_database(), 'test_decoding')"
COUNT: Final = (
    "SELECT count(*) FROM pg_logical_slot_get_changes('bench_' || current_database(), NULL, NULL,"
    " 'skip-empty-xacts', 'on') WHERE data LIKE 'COMMIT%'"
)
DROP: Final = "SELECT pg_drop_replication_slot('bench_' || current_database())"


class Commits:
    """Counts on several databases."""

    def __init__(self, connections: Sequence[Any]) -> None:
        self._connections = connections

    async def since(self) -> int:
        """The commits since the call before, or since the beginning."""
        return sum([int(await each.fetchval(COUNT)) for each in self._connections])


@asynccontextmanager
async def counted_commits(urls: Sequence[str]) -> AsyncIterator[Commits]:
    """Count with asyncpg on these databases; on other engines than PostgreSQL the count is 0."""
    connections = []
    async with AsyncExitStack() as stack:
        for url in urls:
            if url.startswith("postgresql"):
                import asyncpg

                connection = await asyncpg.connect(url)
                stack.push_async_callback(connection.close)
                await connection.execute(MAKE)
                stack.push_async_callback(connection.execute, DROP)
                connections.append(connection)
        yield Commits(connections)
