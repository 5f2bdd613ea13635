"""Ten writers on MariaDB that pause, roll back, lose their connection and their server: a reader skips nothing."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from freehold.database import DatabaseOptions
from freehold.errors import FreeholdError
from freehold.eventstore.store import EVENTS, Append, Expectation, NewEvent
from freehold.ids import new_id
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL
from freehold_shop.servers import RunningServer

pytestmark = pytest.mark.servers

_WRITERS = 10
_SECONDS = 3.0
_OPTIONS = DatabaseOptions(pool_size=16, lock_timeout_seconds=5.0, statement_timeout_seconds=5.0)
_OTHERS = "SELECT id FROM information_schema.PROCESSLIST WHERE id <> CONNECTION_ID() AND command <> 'Daemon'"


class _Readers:
    """One that is told how far all is settled, and one that believes in the highest committed position."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.settled: list[int] = []
        self.naive: list[int] = []

    async def look(self) -> None:
        page = await self._stores[EVENTS].read_all(self.settled[-1] if self.settled else 0, limit=500)
        self.settled += [event.position for event in page.events]
        async with self._stores[SQL].direct() as sql:
            after = self.naive[-1] if self.naive else 0
            rows = await sql.fetch(
                "SELECT position FROM freehold_event WHERE position > $1 ORDER BY position", (after,)
            )
            self.naive += [row[0] for row in rows]


async def _write(stores: Stores, number: int, ended: asyncio.Event) -> None:
    dice = random.Random(number)
    while not ended.is_set():
        with suppress(FreeholdError, ZeroDivisionError):
            async with stores.database.begin() as db_tx:
                event = NewEvent(new_id(), "suite.happened", 1, b"{}", new_id(), 0)
                stream = f"suite-{dice.randrange(30)}"
                await stores[EVENTS].append(db_tx, [Append(stream, (event,), Expectation.ANY)])
                await asyncio.sleep(dice.choice([0.0, 0.0, 0.002, 0.02]))
                _ = 1 / dice.randrange(5)
        await asyncio.sleep(0)


async def _disturb(stores: Stores, server: RunningServer) -> None:
    """Kill connections, and once the server."""
    for turn in range(12):
        await asyncio.sleep(_SECONDS / 12)
        if turn == 6:
            server.kill()
            await asyncio.to_thread(server.start)
            continue
        with suppress(FreeholdError):
            async with stores[SQL].direct() as sql:
                others = [row[0] for row in await sql.fetch(_OTHERS)]
                for each in random.Random(turn).sample(others, min(2, len(others))):
                    with suppress(FreeholdError):
                        await sql.execute(f"KILL CONNECTION {int(each)}")


async def test_a_reader_skips_nothing(disposable_mariadb: RunningServer) -> None:
    """The other reader does: a test without one that fails would prove nothing."""
    stores, apart = (open_stores(disposable_mariadb.url, _OPTIONS) for _ in range(2))
    await stores.database.open()
    await apart.database.open()
    await stores.database.upgrade()
    readers, ended = _Readers(apart), asyncio.Event()
    writers = [asyncio.create_task(_write(stores, number, ended)) for number in range(_WRITERS)]
    disturbing = asyncio.create_task(_disturb(apart, disposable_mariadb))
    while not disturbing.done():
        with suppress(FreeholdError):
            await readers.look()
        await asyncio.sleep(0.001)
    ended.set()
    await asyncio.gather(disturbing, *writers)
    for _ in range(100):
        await readers.look()
    async with apart[SQL].direct() as sql:
        committed = [row[0] for row in await sql.fetch("SELECT position FROM freehold_event ORDER BY position")]
    assert len(committed) > 200
    assert readers.settled == committed
    assert len(readers.naive) < len(committed)
    await stores.database.close()
    await apart.database.close()
