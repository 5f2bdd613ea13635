"""Ten writers in two processes, slow, overlapping and rolled back; five readers that tail: nothing is skipped.

FREEHOLD_TEST_TAIL_SECONDS says for how long (2 by default); `-s` shows the figures.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from tests.forking import ForkedProcess, forked
from tests.integration.eventstore.opened import opened
from tests.integration.eventstore.writers import WRITERS

from freehold.conformance.events_order import follow, is_wanted
from freehold.eventstore.store import EVENTS, EVERYTHING, EventFilter, RecordedEvent
from freehold.ports import Stores

SECONDS = float(os.environ.get("FREEHOLD_TEST_TAIL_SECONDS", "2"))
_PROCESSES = 2
_READERS = (
    (EVERYTHING, 1000),
    (EVERYTHING, 7),
    (EventFilter(partition=1, partitions=2), 100),
    (EventFilter(types=frozenset({"a.one", "a.two"})), 100),
    (EventFilter(categories=frozenset({"order"}), partition=0, partitions=3), 100),
)
# A slow transaction is open for 0.3 s at most, and several may follow on each other; the machine may be busy.
_LAG_SECONDS_MAX = 60.0

pytestmark = pytest.mark.timeout(SECONDS + 240)


@dataclass(slots=True)
class _Reader:
    wanted: EventFilter
    limit: int
    seen: list[RecordedEvent] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    after: int = 0

    async def tail(self, stores: Stores, ended: asyncio.Event) -> None:
        """Read on until the writers have ended, and then to the head."""
        while not ended.is_set():
            if not await self._page(stores):
                await asyncio.wait({waiting := asyncio.ensure_future(ended.wait())}, timeout=0.005)
                waiting.cancel()
        head = await stores[EVENTS].high_water_mark()
        while self.after < head:
            await self._page(stores)

    async def _page(self, stores: Stores) -> bool:
        page = await stores[EVENTS].read_all(self.after, limit=self.limit, event_filter=self.wanted)
        now = datetime.now(UTC)
        self.lags += [(now - each.recorded_at).total_seconds() for each in page.events]
        self.seen += page.events
        self.after = page.end_position
        return bool(page.events)


async def _writers(url: str, stack: AsyncExitStack) -> list[ForkedProcess]:
    processes = []
    for seed in range(_PROCESSES):
        process = await forked("tests.integration.eventstore.writers", url, str(SECONDS), str(seed))
        stack.push_async_callback(process.end)
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        processes.append(process)
    return processes


async def _run(url: str) -> None:
    async with opened(url) as stores, AsyncExitStack() as stack:
        processes = await _writers(url, stack)
        ended = asyncio.Event()
        readers = [_Reader(wanted, limit) for wanted, limit in _READERS]
        tails = [asyncio.create_task(reader.tail(stores, ended)) for reader in readers]
        answers = await asyncio.wait_for(asyncio.gather(*(each.communicate(b"\n") for each in processes)), SECONDS + 90)
        ended.set()
        await asyncio.wait_for(asyncio.gather(*tails), 90)
        committed = {UUID(line) for output in answers for line in output.decode().split()}
        everything = await follow(stores)
    assert len(committed) > 5 * SECONDS
    assert {each.event.id for each in everything} == committed
    for reader in readers:
        _check(reader, everything)


def _check(reader: _Reader, everything: Sequence[RecordedEvent]) -> None:
    wanted = [each.event.id for each in everything if is_wanted(each, reader.wanted)]
    skipped = len(set(wanted) - {each.event.id for each in reader.seen})
    versions: dict[str, int] = defaultdict(int)
    misplaced = 0
    for each in reader.seen:
        misplaced += each.version <= versions[each.stream]
        versions[each.stream] = each.version
    lags = sorted(reader.lags)
    sys.stdout.write(
        f"\n{len(reader.seen)} events read, {skipped} skipped, {misplaced} out of order; seconds from append to read:"
        f" half {lags[len(lags) // 2]:.3f}, 99 % {lags[len(lags) * 99 // 100]:.3f}, most {lags[-1]:.3f}\n"
    )
    assert skipped == 0
    assert misplaced == 0
    assert [each.event.id for each in reader.seen] == wanted
    assert lags[-1] < _LAG_SECONDS_MAX


@asynccontextmanager
async def _idle_transactions(url: str) -> AsyncIterator[None]:
    """One in another database of the cluster and one in this, each with a transaction id, both open all the time."""
    name = f"test_{uuid4().hex[:12]}"
    operator = await asyncpg.connect(url)
    await operator.execute(f"CREATE DATABASE {name}")
    elsewhere = await asyncpg.connect(sa.make_url(url).set(database=name).render_as_string(hide_password=False))
    here = await asyncpg.connect(url)
    for connection in (elsewhere, here):
        await connection.execute("BEGIN; CREATE TABLE held (n integer); SELECT pg_current_xact_id()")
    try:
        yield
        for connection in (elsewhere, here):
            assert await connection.fetchval("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
    finally:
        await here.close()
        await elsewhere.close()
        await operator.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await operator.close()


@pytest.mark.servers
async def test_tailing_on_postgres(postgres_url: str) -> None:
    """Ten writers, one transaction in ten slow, one in ten rolled back; five readers."""
    assert WRITERS * _PROCESSES == 10
    await _run(postgres_url)


@pytest.mark.servers
async def test_tailing_on_postgres_beside_idle_transactions(postgres_url: str) -> None:
    """The same, and nobody is blocked by transactions that do not append, here and elsewhere in the cluster."""
    async with _idle_transactions(postgres_url):
        await _run(postgres_url)


async def test_tailing_on_sqlite(tmp_path: Path) -> None:
    """The same on SQLite, where slow writers block each other."""
    await _run(f"sqlite:///{tmp_path}/tail.db")
