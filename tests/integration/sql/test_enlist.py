"""Staging in a transaction that belongs to the user, by every driver: it ends as the user ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import asyncmy
import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from freehold.conformance.outbox import outgoing
from freehold.errors import ConfigurationError, TransactionMisused
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.schedule.store import SCHEDULE

Opener = Callable[[str], AbstractAsyncContextManager[tuple[Any, Callable[[], Any], Callable[[], Any]]]]
"""Gives what is enlisted, and the user's commit and rollback."""


def _over(driver: str, url: str) -> str:
    return sa.make_url(url).set(drivername=driver).render_as_string(hide_password=False)


def session_over(driver: str) -> Opener:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[tuple[Any, Callable[[], Any], Callable[[], Any]]]:
        engine = create_async_engine(_over(driver, url))
        async with AsyncSession(engine) as session:
            yield session, session.commit, session.rollback
        await engine.dispose()

    return opened


def connection_over(driver: str) -> Opener:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[tuple[Any, Callable[[], Any], Callable[[], Any]]]:
        engine = create_async_engine(_over(driver, url))
        async with engine.connect() as connection:
            yield connection, connection.commit, connection.rollback
        await engine.dispose()

    return opened


@asynccontextmanager
async def raw_asyncpg(url: str) -> AsyncIterator[tuple[Any, Callable[[], Any], Callable[[], Any]]]:
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection, transaction.commit, transaction.rollback
    await connection.close()


@asynccontextmanager
async def pooled_asyncpg(url: str) -> AsyncIterator[tuple[Any, Callable[[], Any], Callable[[], Any]]]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection, transaction.commit, transaction.rollback


@asynccontextmanager
async def raw_psycopg(url: str) -> AsyncIterator[tuple[Any, Callable[[], Any], Callable[[], Any]]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection, connection.commit, connection.rollback


@asynccontextmanager
async def raw_aiosqlite(url: str) -> AsyncIterator[tuple[Any, Callable[[], Any], Callable[[], Any]]]:
    async with aiosqlite.connect(url.removeprefix("sqlite:///")) as connection:
        yield connection, connection.commit, connection.rollback


@asynccontextmanager
async def raw_asyncmy(url: str) -> AsyncIterator[tuple[Any, Callable[[], Any], Callable[[], Any]]]:
    at = sa.make_url(url)
    async with asyncmy.connect(
        host=at.host, port=at.port, user=at.username, password=at.password, db=at.database
    ) as connection:
        yield connection, connection.commit, connection.rollback


POSTGRES: dict[str, Opener] = {
    "session over asyncpg": session_over("postgresql+asyncpg"),
    "session over psycopg": session_over("postgresql+psycopg"),
    "connection over asyncpg": connection_over("postgresql+asyncpg"),
    "connection over psycopg": connection_over("postgresql+psycopg"),
    "asyncpg": raw_asyncpg,
    "asyncpg out of its pool": pooled_asyncpg,
    "psycopg": raw_psycopg,
}
SQLITE: dict[str, Opener] = {
    "session over aiosqlite": session_over("sqlite+aiosqlite"),
    "connection over aiosqlite": connection_over("sqlite+aiosqlite"),
    "aiosqlite": raw_aiosqlite,
}


@pytest.fixture
async def on_postgres(postgres_url: str) -> AsyncIterator[tuple[str, Stores]]:
    stores = open_stores(postgres_url)
    await stores.database.open()
    await stores.database.upgrade()
    yield postgres_url, stores
    await stores.database.close()


MARIADB: dict[str, Opener] = {
    "session over asyncmy": session_over("mariadb+asyncmy"),
    "connection over asyncmy": connection_over("mariadb+asyncmy"),
    "asyncmy": raw_asyncmy,
}


@pytest.fixture
async def on_mariadb(mariadb_url: str) -> AsyncIterator[tuple[str, Stores]]:
    stores = open_stores(mariadb_url)
    await stores.database.open()
    await stores.database.upgrade()
    yield mariadb_url, stores
    await stores.database.close()


@pytest.fixture
async def on_sqlite(tmp_path: Path) -> AsyncIterator[tuple[str, Stores]]:
    url = f"sqlite:///{tmp_path}/service.db"
    stores = open_stores(url)
    await stores.database.open()
    await stores.database.upgrade()
    yield url, stores
    await stores.database.close()


async def check(stores: Stores, url: str, opener: Opener) -> None:
    async with opener(url) as (native, commit, rollback):
        db_tx = stores.database.enlist(native)
        assert not db_tx.owned
        assert db_tx.native is native
        await stores[OUTBOX].stage(db_tx, [outgoing("k", b"\x00\xff"), outgoing("l")])
        assert (await stores[OUTBOX].stats()).pending == 0
        await rollback()
    assert (await stores[OUTBOX].stats()).pending == 0
    async with opener(url) as (native, commit, _):
        db_tx = stores.database.enlist(native)
        kept, message = outgoing("k", b"\x00\xff"), outgoing("k")
        await stores[OUTBOX].stage(db_tx, [kept])
        await stores[SCHEDULE].add(db_tx, message, "n", 0)
        assert await stores[SCHEDULE].cancel(db_tx, message.id)
        await stores[SCHEDULE].add(db_tx, message, "n", 0)
        await commit()
    assert (await stores[OUTBOX].stats()).pending == 1
    assert [each.message for each in await stores[SCHEDULE].find(None, 9)] == [message]


@pytest.mark.servers
@pytest.mark.parametrize("how", POSTGRES)
async def test_postgres(on_postgres: tuple[str, Stores], how: str) -> None:
    await check(on_postgres[1], on_postgres[0], POSTGRES[how])


@pytest.mark.servers
@pytest.mark.parametrize("how", MARIADB)
async def test_mariadb(on_mariadb: tuple[str, Stores], how: str) -> None:
    """At REPEATABLE READ, which is the session's own."""
    await check(on_mariadb[1], on_mariadb[0], MARIADB[how])


@pytest.mark.parametrize("how", SQLITE)
async def test_sqlite(on_sqlite: tuple[str, Stores], how: str) -> None:
    await check(on_sqlite[1], on_sqlite[0], SQLITE[how])


@pytest.mark.servers
async def test_what_would_commit_by_itself_is_refused(on_postgres: tuple[str, Stores]) -> None:
    url, stores = on_postgres
    connection = await asyncpg.connect(url)
    with pytest.raises(ConfigurationError, match="no transaction"):
        stores.database.enlist(connection)
    await connection.close()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as autocommitting:
        with pytest.raises(ConfigurationError, match="autocommit"):
            stores.database.enlist(autocommitting)
        async with autocommitting.transaction():
            await stores[OUTBOX].stage(stores.database.enlist(autocommitting), [outgoing("k")])
    for driver in ("postgresql+asyncpg", "postgresql+psycopg"):
        engine = create_async_engine(_over(driver, url), isolation_level="AUTOCOMMIT")
        async with engine.connect() as alchemy:
            with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
                stores.database.enlist(alchemy)
        async with AsyncSession(engine) as session:
            with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
                await stores[OUTBOX].stage(stores.database.enlist(session), [outgoing("k")])
        await engine.dispose()
    assert (await stores[OUTBOX].stats()).pending == 1


@pytest.mark.servers
async def test_what_would_commit_by_itself_on_mariadb_is_refused(on_mariadb: tuple[str, Stores]) -> None:
    url, stores = on_mariadb
    at = sa.make_url(url)
    async with asyncmy.connect(
        host=at.host, port=at.port, user=at.username, password=at.password, db=at.database, autocommit=True
    ) as connection:
        with pytest.raises(ConfigurationError, match="autocommit"):
            stores.database.enlist(connection)
    engine = create_async_engine(_over("mariadb+asyncmy", url), isolation_level="AUTOCOMMIT")
    async with engine.connect() as alchemy:
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            stores.database.enlist(alchemy)
    async with AsyncSession(engine) as session:
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            await stores[OUTBOX].stage(stores.database.enlist(session), [outgoing("k")])
    await engine.dispose()
    assert (await stores[OUTBOX].stats()).pending == 0


@pytest.mark.servers
async def test_a_session_on_another_engine_is_refused(on_postgres: tuple[str, Stores], tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/other.db")
    async with AsyncSession(engine) as session:
        with pytest.raises(ConfigurationError, match="sqlite"):
            await on_postgres[1][OUTBOX].stage(on_postgres[1].database.enlist(session), [outgoing("k")])
    await engine.dispose()


async def test_the_own_connection_can_be_joined_again(on_sqlite: tuple[str, Stores]) -> None:
    _, stores = on_sqlite
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(stores.database.enlist(db_tx.native), [outgoing("k")])
    assert (await stores[OUTBOX].stats()).pending == 1


async def test_ending_our_transaction_inside_its_block_is_an_error(on_sqlite: tuple[str, Stores]) -> None:
    _, stores = on_sqlite
    with pytest.raises(TransactionMisused, match=r"commit\(\)"):
        async with stores.database.begin() as db_tx:
            await db_tx.native.exec_driver_sql("SELECT 1")
            await db_tx.native.commit()
    async with stores.database.begin() as db_tx:
        await stores[OUTBOX].stage(db_tx, [outgoing("k")])
