"""What keeps a database from being written is told by a probe: in time, by its reason, and no longer than it lasts."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from tests.integration.health.conditions import TABLE, Condition, grow

from freehold.conformance.broker_harness import eventually
from freehold.conformance.outbox import outgoing
from freehold.errors import DatabaseError, Unavailable
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores

pytestmark = pytest.mark.empty_database

LIMIT_SECONDS = 1.0
_LOCK_SECONDS = 120.0
_FAR_LESS_SECONDS = 30.0
"""Than a lock is waited for; more than a probe takes beyond its limit on a busy machine."""


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Stores]:
    stores = open_stores(url, {"lock_timeout_seconds": _LOCK_SECONDS})
    await stores.database.open()
    await stores.database.upgrade()
    try:
        yield stores
    finally:
        await stores.database.close()


@pytest.mark.parametrize(("condition_url", "condition", "reason"), TABLE, indirect=["condition_url"])
async def test_what_keeps_a_database_from_being_written(condition_url: str, condition: Condition, reason: str) -> None:
    url = condition_url
    async with _opened(url) as stores:
        if url.startswith("sqlite"):
            grow(url)
        await stores.database.probe(LIMIT_SECONDS)
        with condition(url):
            begun = time.monotonic()
            with pytest.raises(Unavailable, match=reason) as caught:
                await stores.database.probe(LIMIT_SECONDS)
            assert time.monotonic() - begun < _FAR_LESS_SECONDS
            assert caught.value.hint
            if "another process" in reason:
                assert re.search(r"\(process \d+, python", caught.value.message)
            if "another session" in reason:
                assert re.search(r"\(session \d+ of stray, in a transaction for \d s\)", caught.value.message)
        await stores.database.probe(LIMIT_SECONDS)


async def test_a_file_that_may_have_no_more_pages(tmp_path: Path) -> None:
    stores = open_stores(f"sqlite:///{tmp_path}/a.db", {"pool_size": 1})
    await stores.database.open()
    await stores.database.upgrade()
    async with stores.database.begin() as db_tx:
        pages = (await db_tx.native.execute(sa.text("PRAGMA page_count"))).scalar_one()
        await db_tx.native.execute(sa.text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(Unavailable, match="the disk is full"):
        await stores.database.probe(LIMIT_SECONDS)
    await stores.database.close()


async def test_a_transaction_of_this_process_is_told_once_it_holds_others_up(tmp_path: Path) -> None:
    """One that is short, or follows another, is work that gets on."""
    async with _opened(f"sqlite:///{tmp_path}/a.db") as stores, stores.database.begin():
        await stores.database.probe(0.1)
    stores = open_stores(f"sqlite:///{tmp_path}/a.db", {"lock_timeout_seconds": 0.05})
    await stores.database.open()
    async with stores.database.begin():
        with pytest.raises(Unavailable, match="another transaction of this process"):
            await stores.database.probe(0.1)
    await stores.database.close()


@pytest.mark.servers
async def test_a_role_that_may_not_write(postgres_url: str) -> None:
    async with _opened(postgres_url) as stores:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute("DROP ROLE IF EXISTS reader_of_probe")
            admin.execute("CREATE ROLE reader_of_probe LOGIN PASSWORD 'x'")
            admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader_of_probe")
        await stores.database.probe(LIMIT_SECONDS)
        place = postgres_url.rpartition("@")[2]
        reader = open_stores(f"postgresql://reader_of_probe:x@{place}")
        await reader.database.open()
        with pytest.raises(DatabaseError, match="freehold_lease"):
            await reader.database.probe(LIMIT_SECONDS)
        await reader.database.close()
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute("DROP OWNED BY reader_of_probe")
            admin.execute("DROP ROLE reader_of_probe")


@pytest.mark.servers
async def test_a_lock_is_named_although_every_connection_of_the_pool_waits_for_it(postgres_url: str) -> None:
    """And who waits for a connection is ahead of nobody who looks at health."""
    stores = open_stores(postgres_url, {"pool_size": 2, "lock_timeout_seconds": 20.0})
    await stores.database.open()
    await stores.database.upgrade()

    async def write(key: str) -> None:
        async with stores.database.begin() as db_tx:
            await stores[OUTBOX].stage(db_tx, [outgoing(key)])

    with psycopg.connect(postgres_url.replace("+asyncpg", ""), autocommit=False) as other:
        other.execute("LOCK TABLE freehold_outbox IN ACCESS EXCLUSIVE MODE")
        waiting = [asyncio.create_task(write(f"k{number}")) for number in range(6)]
        try:
            await eventually(partial(_wait_for_locks, postgres_url, 2))
            for _ in range(2):
                with pytest.raises(Unavailable, match="table freehold_outbox is locked by another session"):
                    await stores.database.probe(LIMIT_SECONDS)
        finally:
            other.rollback()
            await asyncio.gather(*waiting)
    await stores.database.probe(LIMIT_SECONDS)
    await stores.database.close()


async def _wait_for_locks(url: str, count: int) -> bool:
    """Whether so many sessions wait for a lock."""
    with psycopg.connect(url.replace("+asyncpg", "")) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
        ).fetchone()
    return found is not None and found[0] >= count
