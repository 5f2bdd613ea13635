"""The outbox and the inbox alone, in the user's own sessions: they share the fate of the user's transaction."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from tests.integration.runtime.workers import Numbered

from freehold import Inbox, Outbox
from freehold.broker import Subscription
from freehold.messages import decode_envelope


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
        async with asyncio.timeout(15):
            while len(keys) < 2:
                batch = await consumer.fetch(10, 1.0)
                if batch is not None:
                    keys += [decode_envelope(each.document).key for each in batch.deliveries]
                    await batch.settle(len(batch.deliveries))
        assert keys == ["kept", "kept"]
        assert (await outbox.running.stores.outbox.stats()).pending == 0
    await engine.dispose()


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
