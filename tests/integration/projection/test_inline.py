"""Inline projections: in the transaction of the append, never behind, and their errors take it back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from tests.integration.projection.models import Deposited, Noted, append, read_model, rows, settings_for

from freehold import RunningService
from freehold.errors import ConfigurationError
from freehold.eventstore.store import EVENTS
from freehold.outbox.store import OUTBOX
from freehold.projection.declaration import ProjectionContext
from freehold.projection.store import CHECKPOINTS


async def test_what_was_appended_can_be_read_at_once(url: str) -> None:
    model = read_model(inline=True)
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        async with running.transaction() as tx:
            tx.append("account-a", Deposited("a", 5), Deposited("a", 6))
            tx.append("note-a", Noted("a", "not followed"))
            await tx.write()
            found = await tx.connection.execute(sa.select(model.accounts))
            assert [row[1:] for row in found] == [(11, 2, 2)]
        async with running.transaction() as tx:
            tx.append("account-a", Deposited("a", 7))
        assert [tuple(row[1:]) for row in await rows(running, model.accounts)] == [(18, 3, 3)]
        assert await running.stores[CHECKPOINTS].checkpoints() == []


@pytest.mark.parametrize("batch", [False, True])
async def test_a_failing_handler_takes_the_append_back(url: str, batch: bool) -> None:
    model = read_model(inline=True, batch=batch, poison={13})
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        with pytest.raises(ValueError, match="planned"):
            async with running.transaction() as tx:
                tx.append("account-a", Deposited("a", 5), Deposited("a", 13))
        assert await rows(running, model.accounts) == []
        assert await running.stores[EVENTS].version("account-a") == 0


async def test_effects_go_with_the_append(url: str) -> None:
    model = read_model(inline=True)

    async def telling(event: Deposited, write: ProjectionContext) -> None:
        assert write.live
        write.publish(Noted(event.account, "seen"))

    model.projection.handlers[Deposited] = telling
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        async with running.transaction() as tx:
            tx.append("account-a", Deposited("a", 5))
        assert (await running.stores[OUTBOX].stats()).pending == 1


async def test_it_joins_a_transaction_of_the_users_own(url: str) -> None:
    """Over SQLAlchemy's session; gone with their rollback."""
    model = read_model(inline=True, batch=True)

    async def all_of(batch: object, write: ProjectionContext) -> None:
        await write.sql.execute(f"INSERT INTO {write.name(model.accounts)} VALUES ('a', 1, 1, 1)")

    model.projection.batch_handler = all_of
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        engine = create_async_engine(_alchemy(url))
        for commit in (False, True):
            async with AsyncSession(engine) as session:
                tx = running.transactions.enlist(session)
                tx.append("account-a", Deposited("a", 5))
                await tx.write()
                await (session.commit() if commit else session.rollback())
            assert len(await rows(running, model.accounts)) == int(commit)
        await engine.dispose()


def _alchemy(url: str) -> str:
    scheme, rest = url.split("://", 1)
    return f"sqlite+aiosqlite://{rest}" if scheme == "sqlite" else f"postgresql+asyncpg://{rest}"


async def test_it_does_not_begin_with_a_part_of_the_history(url: str) -> None:
    """Events that were appended before would be missing; who does not need them says so."""
    async with RunningService(read_model().service, settings_for(url), roles=()) as running:
        await append(running, "a", 1)
    with pytest.raises(ConfigurationError, match="before it"):
        async with RunningService(read_model(inline=True).service, settings_for(url), roles=()):
            pass
    model = read_model(inline=True, start="now")
    async with RunningService(model.service, settings_for(url), roles=()) as running:
        async with running.transaction() as tx:
            tx.append("account-b", Deposited("b", 7))
        assert [row[0] for row in await rows(running, model.accounts)] == ["b"]


async def test_it_keeps_to_its_version(url: str) -> None:
    """There is no rebuild beside a projection that every append writes."""
    async with RunningService(read_model(inline=True).service, settings_for(url), roles=()):
        pass
    with pytest.raises(ConfigurationError, match="inline in version 2") as refused:
        async with RunningService(read_model(inline=True, version=2).service, settings_for(url), roles=()):
            pass
    assert "without inline and under another name" in refused.value.hint
