"""The outbox and the inbox alone, in the user's own sessions: they share the fate of the user's transaction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from tests.integration.runtime.workers import Numbered

from freehold import Inbox, Outbox
from freehold.broker import Broker, Subscription
from freehold.errors import Unavailable
from freehold.messages import decode_envelope
from freehold.outbox.store import OUTBOX
from freehold.schedule.store import SCHEDULE


async def test_what_is_published_in_a_users_session_shares_its_fate(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/source.db"
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/source.db")
    async with Outbox("source", database, f"embedded:///{tmp_path}/broker.db", poll_seconds=30.0) as outbox:
        consumer = await outbox.running.broker.subscribe(Subscription("reader", frozenset({"source.events"})))
        async with AsyncSession(engine) as session:
            async with session.begin():
                await outbox.publish(session, Numbered("kept", 1))
            await session.begin()
            await outbox.publish(session, Numbered("taken-back", 2))
            await session.rollback()
            async with session.begin():
                await outbox.publish(session, Numbered("kept", 3))
        keys: list[str] = []
        async with asyncio.timeout(60):
            while len(keys) < 2:
                batch = await consumer.fetch(10, 1.0)
                if batch is not None:
                    keys += [decode_envelope(each.document).key for each in batch.deliveries]
                    await batch.ack(len(batch.deliveries))
            # The relay removes what the broker has confirmed, after the readers have it.
            while (await outbox.running.stores[OUTBOX].stats()).pending:  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.02)
        assert keys == ["kept", "kept"]
    await engine.dispose()


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.servers)])
async def test_an_inbox_prunes_its_own_receipts_only(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path}/shared.db"
        native = f"sqlite+aiosqlite:///{tmp_path}/shared.db"
    else:
        url = request.getfixturevalue("postgres_url")
        native = url.replace("postgresql:", "postgresql+asyncpg:")
    users = create_async_engine(native)
    async with Inbox("mails", url) as mails, Inbox("bills", url) as bills:
        async with AsyncSession(users) as session, session.begin():
            assert await mails.first_time(session, "m-1")
            assert await bills.first_time(session, "m-1")
        assert await mails.prune(-60.0) == 1
        async with AsyncSession(users) as session, session.begin():
            assert await mails.first_time(session, "m-1")
            assert not await bills.first_time(session, "m-1")
    await users.dispose()


async def test_a_receipt_in_a_users_session_shares_its_fate(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/reader.db")
    message_id = uuid4()
    async with Inbox("reader", f"sqlite:///{tmp_path}/reader.db") as inbox, AsyncSession(engine) as session:
        await session.begin()
        assert await inbox.first_time(session, message_id)
        await session.rollback()
        async with session.begin():
            assert await inbox.first_time(session, message_id)
        async with session.begin():
            assert not await inbox.first_time(session, message_id)
    await engine.dispose()


@asynccontextmanager
async def _asyncpg(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@asynccontextmanager
async def _psycopg(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with AsyncSession(engine) as session:
        yield session
    await engine.dispose()


class Undone(Exception):
    pass


@pytest.mark.servers
@pytest.mark.parametrize("connect", [_asyncpg, _psycopg, _session])
async def test_both_share_the_fate_of_a_transaction_on_postgresql(
    connect: Any, postgres_url: str, tmp_path: Path
) -> None:
    message_id = uuid4()
    async with (
        Outbox("source", postgres_url, f"embedded:///{tmp_path}/broker.db", poll_seconds=0.2) as outbox,
        Inbox("reader", postgres_url) as inbox,
        connect(postgres_url) as mine,
    ):
        consumer = await outbox.running.broker.subscribe(Subscription("reader", frozenset({"source.events"})))
        begin = mine.begin if isinstance(mine, AsyncSession) else mine.transaction
        with pytest.raises(Undone):
            async with begin():
                assert await inbox.first_time(mine, message_id)
                await outbox.publish(mine, Numbered("taken-back", 1))
                raise Undone
        async with begin():
            assert await inbox.first_time(mine, message_id)
            await outbox.publish(mine, Numbered("kept", 2))
        async with begin():
            assert not await inbox.first_time(mine, message_id)
            scheduled = await outbox.schedule(mine, Numbered("cancelled", 3), delay_seconds=60.0)
        async with begin():
            assert await outbox.cancel(mine, scheduled)
            await outbox.publish(mine, Numbered("kept", 4))
        keys: list[str] = []
        async with asyncio.timeout(60):
            while len(keys) < 2:
                batch = await consumer.fetch(10, 1.0)
                if batch is not None:
                    keys += [decode_envelope(each.document).key for each in batch.deliveries]
                    await batch.ack(len(batch.deliveries))
        assert keys == ["kept", "kept"]
        assert await outbox.running.stores[SCHEDULE].find(None, 10) == []


async def test_an_outbox_alone_sends_again_what_it_has_kept(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/source.db")
    broker = f"embedded:///{tmp_path}/broker.db"
    database = f"sqlite:///{tmp_path}/source.db"
    async with Outbox("source", database, broker, outbox_sent_retention_seconds=60) as outbox:
        async with AsyncSession(engine) as session, session.begin():
            await outbox.publish(session, Numbered("k", 1))
        await _until_empty(outbox)
        for end in ("", "-wal", "-shm"):
            (tmp_path / f"broker.db{end}").unlink(missing_ok=True)
        await _until_back(outbox.running.broker)
        done = await outbox.resend(reason="its file was deleted")
        assert (done.sent_again, done.losses_ended, done.losses_open) == (1, 1, 0)
        await _until_empty(outbox)
        consumer = await outbox.running.broker.subscribe(Subscription("reader", frozenset({"source.events"})))
        keys: set[str] = set()
        async with asyncio.timeout(60):
            while "k" not in keys:
                batch = await consumer.fetch(10, 1.0)
                if batch is not None:
                    keys |= {decode_envelope(each.document).key for each in batch.deliveries}
                    await batch.ack(len(batch.deliveries))
    await engine.dispose()


async def _until_empty(outbox: Outbox) -> None:
    async with asyncio.timeout(60):
        while (await outbox.running.stores[OUTBOX].stats()).pending:  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.02)


async def _until_back(broker: Broker) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Unavailable):
                await broker.log_identity()
                return
            await asyncio.sleep(0.05)
