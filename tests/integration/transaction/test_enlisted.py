"""Transactions of the user's own: they end them. What can be known of that end is refused, and savepoints count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from tests.integration.sql.test_enlist import POSTGRES, SQLITE, Opener
from tests.integration.transaction.trial import Happened, messages

from freehold import Outbox, RunningService
from freehold.errors import TransactionEnded, TransactionMisused

_ALL = {**SQLITE, **POSTGRES}
WAYS = [pytest.param(way, marks=pytest.mark.servers if way in POSTGRES else ()) for way in _ALL]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.node.callspec.params["how"] in SQLITE:
        return f"sqlite:///{tmp_path}/trial.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def outbox(url: str) -> AsyncIterator[Outbox]:
    async with Outbox("trial", url, "memory://", relay=False) as outbox:
        yield outbox


async def _run(native: Any, statement: str) -> None:
    if isinstance(native, AsyncConnection | AsyncSession):
        await native.execute(sa.text(statement))
    else:
        await native.execute(statement)


@asynccontextmanager
async def _savepoint(native: Any, *, rolled_back: bool) -> AsyncIterator[None]:
    """As the driver makes one, or in words."""
    if isinstance(native, AsyncConnection | AsyncSession):
        nested = await native.begin_nested()
        yield
        await (nested.rollback() if rolled_back else nested.commit())
        return
    await _run(native, "SAVEPOINT a")
    yield
    if rolled_back:
        await _run(native, "ROLLBACK TO SAVEPOINT a")
    await _run(native, "RELEASE SAVEPOINT a")


async def _waiting(outbox: Outbox) -> int:
    return await messages(outbox.running)


@pytest.mark.parametrize("how", WAYS)
async def test_what_is_published_inside_a_savepoint_goes_with_it(outbox: Outbox, url: str, how: str) -> None:
    """The driver's mode does not matter: sqlite3's own begins no transaction before a savepoint."""
    opener: Opener = _ALL[how]
    async with opener(url) as (native, commit, _):
        async with _savepoint(native, rolled_back=True):
            await outbox.publish(native, Happened("inside"))
        await commit()
    assert await _waiting(outbox) == 0
    async with opener(url) as (native, commit, _):
        await outbox.publish(native, Happened("before"))
        async with _savepoint(native, rolled_back=True):
            await outbox.publish(native, Happened("inside"))
        await commit()
    assert await _waiting(outbox) == 1


@pytest.mark.parametrize("how", [way for way in WAYS if way.values[0] != "aiosqlite"])
async def test_a_savepoint_that_is_released_commits_nothing(outbox: Outbox, url: str, how: str) -> None:
    """The transaction around it is rolled back, and the message with it."""
    opener: Opener = _ALL[how]
    async with opener(url) as (native, _, rollback):
        if isinstance(native, AsyncConnection):
            await outbox.cancel(native, (await _sent(outbox, native)))
        async with _savepoint(native, rolled_back=False):
            await outbox.publish(native, Happened("inside"))
        await rollback()
    assert await _waiting(outbox) == 0


async def _sent(outbox: Outbox, native: object) -> Any:
    return await outbox.schedule(native, Happened("first"), delay_seconds=60)


@pytest.mark.parametrize("how", WAYS)
async def test_nothing_is_collected_after_the_owners_end(outbox: Outbox, url: str, how: str) -> None:
    running: RunningService = outbox.running
    for end in ("commit", "rollback"):
        async with _ALL[how](url) as (native, commit, rollback):
            tx = running.transactions.enlist(native)
            tx.publish(Happened(end))
            await tx.write()
            await (commit() if end == "commit" else rollback())
            with pytest.raises(TransactionEnded, match="ended by its owner"):
                tx.publish(Happened("late"))
            with pytest.raises(TransactionEnded):
                await tx.write()
    assert await _waiting(outbox) == 1


_ALCHEMY = [way for way in WAYS if "over" in str(way.values[0])]


@pytest.mark.parametrize("how", _ALCHEMY)
async def test_the_owners_commit_refuses_what_was_not_written(outbox: Outbox, url: str, how: str) -> None:
    """SQLAlchemy tells before it commits; a driver does not."""
    running: RunningService = outbox.running
    async with _ALL[how](url) as (native, commit, rollback):
        tx = running.transactions.enlist(native)
        tx.publish(Happened("written"))
        await tx.write()
        tx.publish(Happened("left"))
        with pytest.raises(TransactionMisused, match="last write"):
            await commit()
        await rollback()
    async with _ALL[how](url) as (native, commit, rollback):
        tx = running.transactions.enlist(native)
        tx.publish(Happened("dropped"))
        await _run(native, "SELECT 1")
        await rollback()
        await _run(native, "SELECT 1")
        await commit()
    assert await _waiting(outbox) == 0


@pytest.mark.parametrize("how", [way for way in WAYS if str(way.values[0]).startswith("session over")])
async def test_what_is_collected_in_a_sessions_savepoint_goes_with_it(outbox: Outbox, url: str, how: str) -> None:
    """Also where it is written after it."""
    running: RunningService = outbox.running
    async with _ALL[how](url) as (native, commit, _):
        tx = running.transactions.enlist(native)
        tx.publish(Happened("before"))
        async with _savepoint(native, rolled_back=True):
            tx.publish(Happened("inside"))
        async with _savepoint(native, rolled_back=False):
            tx.publish(Happened("kept"))
        await tx.write()
        await commit()
    assert await _waiting(outbox) == 2


async def test_a_session_of_our_own_transaction_may_be_joined(tmp_path: Path) -> None:
    """The message goes with that transaction."""
    from freehold.sqlalchemy import connection, session

    async with Outbox("trial", f"sqlite:///{tmp_path}/trial.db", "memory://", relay=False) as outbox:
        running: RunningService = outbox.running
        async with running.transaction() as tx:
            await outbox.publish(session(tx), Happened("a"))
            await outbox.publish(connection(tx), Happened("b"))
            async with session(tx).begin_nested() as nested:
                await outbox.publish(session(tx), Happened("c"))
                await nested.rollback()
        assert await _waiting(outbox) == 2


async def test_a_session_may_serve_many_transactions(tmp_path: Path) -> None:
    """What has joined one does not block the next."""
    url = f"sqlite:///{tmp_path}/trial.db"
    async with Outbox("trial", url, "memory://", relay=False) as outbox:
        engine = create_async_engine(url.replace("sqlite", "sqlite+aiosqlite"))
        async with AsyncSession(engine) as own:
            for number in range(5):
                await outbox.publish(own, Happened(f"{number}"))
                await (own.commit() if number % 2 else own.rollback())
        async with engine.connect() as connection:
            for number in range(5):
                await outbox.publish(connection, Happened(f"{number}"))
                await (connection.commit() if number % 2 else connection.rollback())
        await engine.dispose()
        assert await _waiting(outbox) == 4
