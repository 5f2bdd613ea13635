"""How readers of other event stores lose or reorder events, each as a test on PostgreSQL.

Where a way of reading loses events, it is planted beside ours (`_Naive`), so that the test shows that it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from tests.integration.eventstore.opened import opened

from freehold.conformance.events_order import add, data_of, follow, new_event
from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, ConfigurationError
from freehold.eventstore.store import EVENTS, Append
from freehold.ports import Stores
from freehold.testing import ManualClock

pytestmark = pytest.mark.servers

# Whoever is made to wait here waits until the test lets it go on.
_PATIENT = DatabaseOptions(lock_timeout_seconds=60.0, statement_timeout_seconds=90.0)
_BY_POSITION = "SELECT position FROM freehold_event WHERE position > $1 ORDER BY position"
_BY_TRANSACTION = """
SELECT position FROM freehold_event
WHERE position > $1 AND xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint ORDER BY position"""


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Stores]:
    async with opened(postgres_url, _PATIENT) as stores:
        yield stores


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


class _Naive:
    """Another way of reading: goes on from the last position that it was given."""

    def __init__(self, connection: Any, query: str) -> None:
        self._connection = connection
        self._query = query
        self._after = 0
        self.seen: list[int] = []

    async def read(self) -> None:
        self.seen += [row[0] for row in await self._connection.fetch(self._query, self._after)]
        self._after = max(self.seen, default=0)

    async def has_seen(self, positions: list[int]) -> bool:
        await self.read()
        return self.seen == positions


async def _until(condition: Callable[[], Awaitable[object]], meanwhile: asyncio.Task[Any]) -> None:
    async with asyncio.timeout(_PATIENT.lock_timeout_seconds):
        while not await condition():
            await asyncio.wait({meanwhile}, timeout=0.01)


async def test_a_late_commit_is_not_skipped(stores: Stores, postgres_url: str) -> None:
    """Avoided: a reader that has seen position 2 never asks for position 1 again, which is committed later."""
    async with connected(postgres_url) as connection:
        naive = _Naive(connection, _BY_POSITION)
        async with stores.database.begin() as late:
            await stores[EVENTS].append(late, [Append("order-1", [new_event(b"late")])])
            await add(stores, "order-2", new_event(b"early"))
            page = await stores[EVENTS].read_all(0)
            await naive.read()
        await naive.read()
    assert data_of([*page.events, *await follow(stores, page.end_position)]) == [b"late", b"early"]
    assert len(naive.seen) == 1


async def test_a_snapshot_older_than_the_mark_is_not_used(stores: Stores, postgres_url: str) -> None:
    """Avoided: the mark is read in one snapshot and the rows in another, older one, which lacks rows below the mark."""
    async with connected(postgres_url) as connection:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM freehold_event")
        (position,) = await add(stores, "order-1")
        drawn = await connection.fetchval("SELECT last_value FROM freehold_event_position_seq")
        rows = await connection.fetch("SELECT 1 FROM freehold_event WHERE position <= $1", drawn)
        assert (drawn, rows) == (position, [])
        assert await connection.fetchval("SELECT freehold_event_settled()") == -1


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_one_snapshot_for_a_transaction_is_refused(postgres_url: str, stores: Stores, level: str) -> None:
    """Avoided: a database whose transactions have one snapshot each makes the reader skip, silently."""
    await add(stores, "order-1")
    async with connected(postgres_url) as operator:
        name = await operator.fetchval("SELECT current_database()")
        await operator.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    async with opened(postgres_url) as changed:
        await add(changed, "order-1", expected=1)
        for read in (changed[EVENTS].read_all(0), changed[EVENTS].high_water_mark()):
            with pytest.raises(ConfigurationError, match="one snapshot"):
                await read


async def test_a_position_drawn_before_the_transaction_has_an_id(stores: Stores, postgres_url: str) -> None:
    """Avoided: position 2 is drawn, position 3 with a smaller transaction id is committed and read, then comes 2.

    The writer is stopped by a trigger between drawing its position and writing the row, which takes the id.
    """
    async with connected(postgres_url) as operator, connected(postgres_url) as other:
        await operator.execute(_STOP_SLOW)
        await add(stores, "order-0", new_event(b"first"))  # the next 32 draws write no log, which would need an id
        await operator.execute("SELECT pg_advisory_lock(42)")
        slow = asyncio.create_task(add(stores, "order-1", new_event(b"slow")))
        waiting = "SELECT backend_xid IS NULL FROM pg_stat_activity WHERE wait_event = 'advisory' AND pid <> $1"
        await _until(lambda: other.fetchval(waiting, operator.get_server_pid()), slow)
        assert await other.fetchval("SELECT last_value FROM freehold_event_position_seq") == 2
        await add(stores, "order-2", new_event(b"quick"))
        naive = _Naive(other, _BY_TRANSACTION)
        # Any transaction of the cluster holds it up: a vacuum, or the end of another test's database.
        await _until(lambda: naive.has_seen([1, 3]), slow)
        page = await stores[EVENTS].read_all(0)
        await operator.execute("SELECT pg_advisory_unlock(42)")
        await asyncio.wait_for(slow, 60)
        await naive.read()
    assert naive.seen == [1, 3]
    assert page.end_position == 1
    assert data_of(await follow(stores, page.end_position)) == [b"slow", b"quick"]


_STOP_SLOW = """
CREATE FUNCTION stop_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.data = 'slow'::bytea THEN PERFORM pg_advisory_xact_lock(42); END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER stop_slow BEFORE INSERT ON freehold_event FOR EACH ROW EXECUTE FUNCTION stop_slow()"""


async def test_a_stream_keeps_its_order_whatever_the_transaction_ids(stores: Stores, postgres_url: str) -> None:
    """Avoided: in order of transaction ids version 2 comes before version 1, whose transaction began later."""
    async with connected(postgres_url) as operator:
        await operator.execute("CREATE TABLE other (n integer)")
        async with stores.database.begin() as first:
            await first.native.execute(sa.text("INSERT INTO other VALUES (1)"))
            await add(stores, "order-1", new_event(b"version 1"))
            await stores[EVENTS].append(first, [Append("order-1", [new_event(b"version 2")])])
        by_transaction = "SELECT version FROM freehold_event ORDER BY xmin::text::bigint, position"
        assert [row[0] for row in await operator.fetch(by_transaction)] == [2, 1]
    assert [(each.version, each.event.data) for each in await follow(stores)] == [(1, b"version 1"), (2, b"version 2")]


async def test_idle_transactions_here_and_elsewhere_stall_nobody(stores: Stores, postgres_url: str) -> None:
    """Avoided: one idle transaction, even of another database, hides every new event from readers by transaction id."""
    name = f"test_{uuid4().hex[:12]}"
    elsewhere = sa.make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    async with connected(postgres_url) as operator:
        await operator.execute(f"CREATE DATABASE {name}")
        try:
            async with connected(elsewhere) as idle, connected(postgres_url) as here, opened(elsewhere) as appending:
                for connection in (idle, here):
                    await connection.execute("BEGIN; CREATE TABLE held (n integer)")
                async with appending.database.begin() as open_append:
                    await appending[EVENTS].append(open_append, [Append("order-1", [new_event()])])
                    await add(stores, "order-2", new_event(b"seen"))
                    assert data_of((await stores[EVENTS].read_all(0)).events) == [b"seen"]
                    naive = _Naive(operator, _BY_TRANSACTION)
                    await naive.read()
                    assert naive.seen == []
        finally:
            await operator.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_gap_is_never_given_up_by_the_clock(postgres_url: str, hours: int) -> None:
    """Avoided: a gap that has been there for some time is taken for a rolled-back one. The clock jumps, and nothing is
    passed over; what was recorded at odd times is read in the order of positions.
    """
    clock = ManualClock()
    async with opened(postgres_url, clock=clock) as stores:
        async with stores.database.begin() as late:
            await stores[EVENTS].append(late, [Append("order-1", [new_event(b"late")])])
            clock.advance(hours * 3600)
            await add(stores, "order-2", new_event(b"early"))
            assert await stores[EVENTS].read_all(0) == await stores[EVENTS].read_all(0)
            assert (await stores[EVENTS].read_all(0)).end_position == 0
        assert data_of(await follow(stores)) == [b"late", b"early"]


async def test_a_prepared_append_is_waited_for(stores: Stores, postgres_url: str) -> None:
    """Avoided: a prepared transaction has no session, and whoever asks sessions forgets it. Its marker stays."""
    async with connected(postgres_url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await stores[EVENTS].append(stores.database.enlist(connection), [Append("order-1", [new_event(b"late")])])
        gid = f"test-{uuid4().hex}"
        await connection.execute(f"PREPARE TRANSACTION '{gid}'")
        await add(stores, "order-2", new_event(b"early"))
        assert (await stores[EVENTS].read_all(0)).end_position == 0
        await connection.execute(f"COMMIT PREPARED '{gid}'")
    assert data_of(await follow(stores)) == [b"late", b"early"]


async def test_whoever_writes_without_the_lock_takes_no_event_of_ours(stores: Stores, postgres_url: str) -> None:
    """Avoided: a row that came by hand while we looked is in the way of the first event, and the second is kept."""
    async with connected(postgres_url) as other:
        by_hand = other.transaction()
        await by_hand.start()
        await other.execute(
            "INSERT INTO freehold_event (stream, version, category, bucket, type, schema_version, id, data,"
            " correlation_id, hlc, recorded_at)"
            " VALUES ('order-1', 1, 'order', 1, 'x', 1, $1, '', $1, 1, now())",
            uuid4(),
        )
        append = Append("order-1", [new_event(b"first"), new_event(b"second")])
        ours = asyncio.create_task(stores[EVENTS].append_now([append]))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await _until(lambda: other.fetchval(waiting), meanwhile=ours)
        await by_hand.commit()
        with pytest.raises(ConcurrencyConflict):
            await ours
    assert data_of(await follow(stores)) == [b""]


async def test_markers_are_right_beyond_32_bits(stores: Stores, postgres_url: str) -> None:
    """A marker carries 32 bits of its floor: around the place where they begin again nothing is skipped or blocked."""
    async with connected(postgres_url) as operator:
        for start in (2**31 - 2, 2**32 - 2, 2**33 + 2**31 - 2):
            await operator.fetchval("SELECT setval('freehold_event_position_seq', $1)", start)
            async with stores.database.begin() as late:
                await stores[EVENTS].append(late, [Append(f"late-{start}", [new_event(b"late")])])
                await add(stores, f"early-{start}", *(new_event(b"early") for _ in range(5)))
                assert await follow(stores, start - 1) == []
            assert data_of(await follow(stores, start)) == [b"late", *[b"early"] * 5]
