"""A database that answers and takes no writes: messages wait, nothing is dead-lettered, and the log says why, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from tests.integration.runtime.workers import Numbered

from freehold import Retry, RunningService, Service, Settings, Transaction
from freehold.broker import BrokerOptions
from freehold.deadletters.store import DEAD_LETTERS
from freehold.inbox.store import INBOX
from freehold.migrations import Migration
from freehold.outbox.store import OUTBOX
from freehold_shop.servers import RunningServer

READ_ONLY_SECONDS = 4.0


async def _eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


async def _make_read_only(server: RunningServer, database: str, *, whether: bool) -> None:
    admin = await asyncpg.connect(server.url)
    what = "SET default_transaction_read_only = on" if whether else "RESET default_transaction_read_only"
    await admin.execute(f'ALTER DATABASE "{database}" {what}')
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
    await admin.close()


@pytest.mark.servers
async def test_messages_wait_for_a_read_only_database(
    postgres_url: str, postgres_server: RunningServer, nats_server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Each message has one attempt: what the outage ends is none."""
    service, seen = (
        Service("source", migrations=[Migration("people", {"": ["CREATE TABLE people (n INTEGER)"]})]),
        list[int](),
    )

    @service.handles(Numbered, retry=Retry(attempts=1))
    async def numbered(event: Numbered, tx: Transaction) -> None:
        await tx.connection.execute(sa.text("INSERT INTO people VALUES (:n)"), {"n": event.number})
        seen.append(event.number)

    options = BrokerOptions(prefix=f"t{uuid4().hex[:8]}")
    name = postgres_url.rpartition("/")[2]
    settings = Settings.load(
        "source", environ={}, database=postgres_url, broker=nats_server.url, broker_options=options
    )
    async with RunningService(service, settings) as running:
        async with running.transaction() as tx:
            tx.publish(Numbered("k", 0))
        await _eventually(lambda: seen == [0])
        await running.pause("consumer")
        async with running.transaction() as tx:
            for number in range(1, 6):
                tx.publish(Numbered("k", number))
        async with asyncio.timeout(60):
            while (await running.stores[OUTBOX].stats()).pending:  # noqa: ASYNC110 - a test looks from outside
                await asyncio.sleep(0.02)
        caplog.clear()
        caplog.set_level(logging.INFO, "freehold")
        await running.resume("consumer")
        await _make_read_only(postgres_server, name, whether=True)
        await _eventually(lambda: "the database is read-only (PostgreSQL 25006)" in caplog.text)
        await asyncio.sleep(READ_ONLY_SECONDS)  # long enough for what is counted to be counted
        await _make_read_only(postgres_server, name, whether=False)
        await _eventually(lambda: len(set(seen)) == 6)
        await _eventually(lambda: not running.outages.why("database"))
        assert await running.stores[DEAD_LETTERS].count() == {}
        assert (await running.stores[INBOX].stats()).pending == 0
        async with running.transaction() as tx:
            kept = (await tx.connection.execute(sa.text("SELECT n FROM people"))).scalars().all()
        assert list(kept) == [0, 1, 2, 3, 4, 5]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("freehold")]
    assert len(lines) <= 8, lines
    assert "Traceback" not in caplog.text
