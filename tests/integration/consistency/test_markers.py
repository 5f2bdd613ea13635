"""What is settled in the outbox on PostgreSQL, whoever stages: by any driver, in savepoints, prepared, past 32 bits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.integration.eventstore.opened import opened
from tests.integration.sql.test_enlist import POSTGRES

from freehold.conformance.outbox import outgoing, take_partitions
from freehold.errors import DatabaseError
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores

pytestmark = pytest.mark.servers


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Stores]:
    async with opened(postgres_url) as made:
        yield made


@pytest.fixture
async def connection(stores: Stores, postgres_url: str) -> AsyncIterator[Any]:
    connected = await asyncpg.connect(postgres_url)
    yield connected
    await connected.close()


async def _stage(stores: Stores, native: Any = None) -> int:
    """Stage one message, in the user's transaction or in one of its own; returns its position."""
    if native is not None:
        (position,) = await stores[OUTBOX].stage(stores.database.enlist(native), [outgoing(str(uuid4()))])
        return position
    async with stores.database.begin() as db_tx:
        (position,) = await stores[OUTBOX].stage(db_tx, [outgoing(str(uuid4()))])
    return position


async def _settled(stores: Stores) -> int:
    (position,) = set((await stores[OUTBOX].fetch(await take_partitions(stores), 1000)).high_water_marks.values())
    return position


@pytest.mark.parametrize("how", POSTGRES)
async def test_an_enlisted_transaction_holds_back_the_high_water_mark(
    stores: Stores, postgres_url: str, how: str
) -> None:
    async with POSTGRES[how](postgres_url) as (native, commit, _):
        first = await _stage(stores, native)
        assert await _stage(stores) > first
        second = await _stage(stores, native)
        last = await _stage(stores)
        assert await _settled(stores) == first - 1
        assert second > first
        await commit()
    assert await _settled(stores) == last


async def test_what_is_staged_in_a_savepoint_holds_until_the_commit(stores: Stores, connection: Any) -> None:
    """Also once the savepoint is released."""
    async with connection.transaction():
        async with connection.transaction():
            position = await _stage(stores, connection)
        await _stage(stores)
        assert await _settled(stores) == position - 1
    assert await _settled(stores) > position


async def test_a_savepoint_that_is_rolled_back_takes_its_own_marker_alone(stores: Stores, connection: Any) -> None:
    """What was staged before it is held, and what is staged behind it."""
    async with connection.transaction():
        first = await _stage(stores, connection)
        inner = connection.transaction()
        await inner.start()
        await _stage(stores, connection)
        await inner.rollback()
        await _stage(stores)
        assert await _settled(stores) == first - 1
    async with connection.transaction():
        inner = connection.transaction()
        await inner.start()
        await _stage(stores, connection)
        await inner.rollback()
        other = await _stage(stores)
        assert await _settled(stores) == other
        behind = await _stage(stores, connection)
        await _stage(stores)
        assert await _settled(stores) == behind - 1


async def test_a_statement_that_fails_behind_the_marker_leaves_none(stores: Stores, connection: Any) -> None:
    """The insert is refused, the savepoint rolled back: nothing is blocked."""
    await connection.execute("ALTER TABLE freehold_outbox ADD CONSTRAINT planned CHECK (topic <> 'never')")
    async with connection.transaction():
        with pytest.raises(DatabaseError):
            async with connection.transaction():
                db_tx = stores.database.enlist(connection)
                await stores[OUTBOX].stage(db_tx, [outgoing("k"), outgoing("l", topic="never")])
        last = await _stage(stores)
        assert await _settled(stores) == last


async def test_a_prepared_transaction_is_waited_for(stores: Stores, connection: Any) -> None:
    """It has no session, and its marker stays."""
    await connection.execute("BEGIN")
    position = await _stage(stores, connection)
    gid = f"test-{uuid4().hex}"
    await connection.execute(f"PREPARE TRANSACTION '{gid}'")
    last = await _stage(stores)
    assert await _settled(stores) == position - 1
    await connection.execute(f"COMMIT PREPARED '{gid}'")
    assert await _settled(stores) == last


@pytest.mark.parametrize("start", [2**31 - 2, 2**32 - 2, 2**33 + 2**31 - 2])
async def test_markers_are_right_beyond_32_bits(stores: Stores, connection: Any, start: int) -> None:
    """A marker carries 32 bits of its floor: around the place where they begin again nothing is skipped or blocked."""
    await connection.execute("SELECT setval('freehold_outbox_position_seq', $1)", start)
    async with connection.transaction():
        position = await _stage(stores, connection)
        last = [await _stage(stores) for _ in range(5)][-1]
        assert await _settled(stores) == position - 1 == start
    assert await _settled(stores) == last == start + 6


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_with_one_snapshot_for_all_no_high_water_mark_rises(
    stores: Stores, postgres_url: str, level: str
) -> None:
    """Rather than too much: the rows could be older than what is known of the markers."""
    await _stage(stores)
    name = postgres_url.rpartition("/")[2].partition("?")[0]
    async with asyncpg.create_pool(postgres_url, min_size=1) as operators:
        await operators.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    async with opened(postgres_url) as one:
        assert len((await one[OUTBOX].fetch(await take_partitions(one), 1000)).rows) == 1
        assert await _settled(one) == 0
