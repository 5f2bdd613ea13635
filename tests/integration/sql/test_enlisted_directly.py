"""Statements of ours on the driver's connection of a SQLAlchemy session of the user's: in the session's transaction,
whatever happens to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from freehold.conformance.harness import has_to_wait
from freehold.conformance.outbox import outgoing
from freehold.errors import ConcurrencyConflict
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.servers


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Stores]:
    stores = open_stores(postgres_url)
    await stores.database.open()
    await stores.database.upgrade()
    yield stores
    await stores.database.close()


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """One connection: what one session leaves behind the next one gets."""
    url = sa.make_url(postgres_url).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, pool_size=1, max_overflow=0)
    async with engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE work (n integer)"))
    yield engine
    await engine.dispose()


async def _work(session: AsyncSession, stores: Stores, key: str = "k") -> None:
    await session.execute(sa.text("INSERT INTO work VALUES (1)"))
    await stores[OUTBOX].stage(stores.database.enlist(session), [outgoing(key)])


async def _counts(engine: AsyncEngine) -> tuple[int, int]:
    async with engine.connect() as connection:
        found = await connection.execute(
            sa.text("SELECT (SELECT count(*) FROM work), (SELECT count(*) FROM freehold_outbox)")
        )
        rows, messages = found.one()
        return rows, messages


async def test_it_commits_and_rolls_back_with_the_session(engine: AsyncEngine, stores: Stores) -> None:
    async with AsyncSession(engine) as session:
        await _work(session, stores)
        await session.rollback()
        await _work(session, stores)
        await session.commit()
    assert await _counts(engine) == (1, 1)


async def test_a_savepoint_of_the_session_takes_it_back(engine: AsyncEngine, stores: Stores) -> None:
    async with AsyncSession(engine) as session, session.begin():
        await _work(session, stores, "outside")
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                await _work(session, stores, "inside")
                _ = 1 / 0
    assert await _counts(engine) == (1, 1)


async def test_after_an_error_the_session_rolls_back_as_after_its_own(engine: AsyncEngine, stores: Stores) -> None:
    async with stores.database.begin() as holder:
        await stores[OUTBOX].stage(holder, [outgoing("k")])
        async with AsyncSession(engine) as session:
            await session.execute(sa.text("SET LOCAL lock_timeout = '200ms'"))
            with pytest.raises(ConcurrencyConflict, match="lock"):
                await _work(session, stores)
            await session.rollback()
            await _work(session, stores, "other")
            await session.commit()
    assert await _counts(engine) == (1, 2)


async def test_a_cancellation_leaves_a_connection_like_a_new_one(engine: AsyncEngine, stores: Stores) -> None:
    async def work() -> None:
        async with AsyncSession(engine) as session, session.begin():
            await _work(session, stores)

    async with stores.database.begin() as holder:
        await stores[OUTBOX].stage(holder, [outgoing("k")])
        task = asyncio.create_task(work())
        assert await has_to_wait(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await _counts(engine) == (0, 1)
    await work()
    assert await _counts(engine) == (1, 2)
