"""A user's own session on MariaDB is REPEATABLE READ: it sees what was committed when it first read. What decides is
read under a lock, so an old snapshot loses no update, and no lock is taken on rows that are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from freehold.conformance.events_order import new_event
from freehold.conformance.inbox import arrival
from freehold.conformance.outbox import outgoing
from freehold.errors import ConcurrencyConflict
from freehold.eventstore.store import EVENTS, Append
from freehold.inbox.store import INBOX, ReceiveStatus
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.servers

_SESSIONS: Final = 12
_ROUNDS: Final = 5


@pytest.fixture
async def stores(mariadb_url: str) -> AsyncIterator[Stores]:
    made = open_stores(mariadb_url)
    await made.database.open()
    await made.database.upgrade()
    yield made
    await made.database.close()


@pytest.fixture
async def engine(mariadb_url: str) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(sa.make_url(mariadb_url).set(drivername="mariadb+asyncmy"), pool_size=_SESSIONS)
    yield made
    await made.dispose()


async def _events(session: AsyncSession) -> int:
    return int((await session.execute(sa.text("SELECT count(*) FROM freehold_event"))).scalar_one())


async def test_a_session_with_an_old_snapshot_finds_the_conflict(stores: Stores, engine: AsyncEngine) -> None:
    """A plain read of the version would still say 0."""
    async with AsyncSession(engine) as session:
        assert await _events(session) == 0
        async with stores.database.begin() as db_tx:
            await stores[EVENTS].append(db_tx, [Append("account-a", [new_event()], 0)])
        assert await _events(session) == 0  # the snapshot is an old one
        with pytest.raises(ConcurrencyConflict):
            await stores[EVENTS].append(stores.database.enlist(session), [Append("account-a", [new_event()], 0)])
        await session.rollback()


async def test_a_session_with_an_old_snapshot_finds_the_receipt(stores: Stores, engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        assert await _events(session) == 0
        async with stores.database.begin() as db_tx:
            await stores[INBOX].receive(db_tx, "orders", [arrival("once")])
        (result,) = await stores[INBOX].receive(stores.database.enlist(session), "orders", [arrival("once")])
        assert result.status is ReceiveStatus.DUPLICATE
        await session.rollback()


async def test_sessions_that_write_different_keys_do_not_deadlock(stores: Stores, engine: AsyncEngine) -> None:
    """A lock on a missing row would lock the gap around it, into which the others insert."""

    async def write(number: int, all_have_read: asyncio.Barrier) -> None:
        async with AsyncSession(engine) as session:
            await _events(session)
            await all_have_read.wait()
            db_tx = stores.database.enlist(session)
            (result,) = await stores[INBOX].receive(db_tx, "orders", [arrival(f"receipt {number}")])
            assert result.status is ReceiveStatus.NEW
            await stores[EVENTS].append(db_tx, [Append(f"account-{number}", [new_event()], 0)])
            await stores[OUTBOX].stage(db_tx, [outgoing(f"key {number}")])
            await session.commit()

    for each in range(_ROUNDS):
        barrier = asyncio.Barrier(_SESSIONS)
        async with asyncio.timeout(60), asyncio.TaskGroup() as sessions:
            for number in range(_SESSIONS):
                sessions.create_task(write(each * _SESSIONS + number, barrier))
    async with AsyncSession(engine) as session:
        assert await _events(session) == _ROUNDS * _SESSIONS
