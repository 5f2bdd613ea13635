"""Messages that PostgreSQL stages in the round trip of the COMMIT: errors, cancellations, lost answers, and values that
must not be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.integration.sql.proxied import lose_commits, through

from freehold import event
from freehold.conformance.outbox import outgoing
from freehold.context import ServiceContext
from freehold.database import DatabaseOptions
from freehold.errors import ConcurrencyConflict, DatabaseError, FreeholdError, OperationTimeout, Unavailable
from freehold.migrations import Migration
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL
from freehold.testing import TcpProxy
from freehold.transaction import Transactions

pytestmark = pytest.mark.servers

_SECRET = "ada@example.org"
_OPTIONS = DatabaseOptions(
    pool_size=2, lock_timeout_seconds=0.3, statement_timeout_seconds=1.0, connect_timeout_seconds=20.0
)
_WORK = Migration("001-work", {"": ["CREATE TABLE work (n integer, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)"]})
_ROW = "INSERT INTO work (n) VALUES ($1)"


@event("folded.happened", key="name")
class _Happened:
    name: str


async def _opened(url: str, options: DatabaseOptions = _OPTIONS) -> Stores:
    stores = open_stores(url, options, [_WORK])
    await stores.database.open()
    await stores.database.upgrade()
    return stores


@pytest.fixture(params=["", "?statement_cache_size=0"], ids=["bound", "text"])
async def stores(postgres_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """The values are parameters; or, as behind a proxy that pools transactions, literals."""
    stores = await _opened(postgres_url + request.param)
    yield stores
    await stores.database.close()


async def _counts(stores: Stores) -> tuple[int, int]:
    """The rows of the service's table, and of the outbox."""
    async with stores[SQL].direct() as sql:
        (row,) = await sql.fetch("SELECT (SELECT count(*) FROM work), (SELECT count(*) FROM freehold_outbox)")
    return row[0], row[1]


async def _work(stores: Stores, number: int, key: str = "k") -> None:
    async with Transactions(ServiceContext("folded", stores)).begin() as tx:
        await tx.sql.execute(_ROW, (number,))
        tx.publish(_Happened(key))


def _told(error: BaseException) -> str:
    """All that an error and its causes tell, the attributes of the driver's errors among it."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        links.append(link)
        link = link.__cause__ or link.__context__
    return "".join([*traceback.format_exception(error), *(f"{each!r}{vars(each)}" for each in links)])


async def test_a_transaction_and_its_message_are_one_round_trip_less(stores: Stores) -> None:
    """And its token has the position of the message."""
    async with Transactions(ServiceContext("folded", stores)).begin() as tx:
        tx.publish(_Happened("k"))
        assert not tx.token
    async with stores[SQL].direct() as sql:
        ((position,),) = await sql.fetch("SELECT position FROM freehold_outbox")
    assert list(tx.token.positions.values()) == [position]


@pytest.mark.parametrize("way", ["on", "off"])
async def test_a_lock_that_is_not_released_is_a_conflict(postgres_url: str, way: str) -> None:
    stores = await _opened(f"{postgres_url}?stage_with_commit={way}")
    async with stores.database.begin() as holder:
        await stores[OUTBOX].stage(holder, [outgoing("k")])
        with pytest.raises(ConcurrencyConflict, match="lock"):
            await _work(stores, 1)
    assert await _counts(stores) == (0, 1)
    await _work(stores, 1)
    assert await _counts(stores) == (1, 2)
    await stores.database.close()


async def test_a_statement_timeout_is_no_unknown_outcome(stores: Stores) -> None:
    async with stores[SQL].direct() as sql:
        await sql.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(9);"
            " RETURN NEW; END $$"
        )
        await sql.execute("CREATE TRIGGER slow BEFORE INSERT ON freehold_outbox FOR EACH ROW EXECUTE FUNCTION slow()")
    with pytest.raises(OperationTimeout, match="statement_timeout_seconds"):
        await _work(stores, 1)
    assert await _counts(stores) == (0, 0)


@pytest.mark.parametrize("publishes", [True, False])
async def test_a_deferred_constraint_refuses_all_of_it(stores: Stores, *, publishes: bool) -> None:
    with pytest.raises(DatabaseError, match="work"):
        async with Transactions(ServiceContext("folded", stores)).begin() as tx:
            await tx.sql.execute(_ROW, (1,))
            await tx.sql.execute(_ROW, (1,))
            if publishes:
                tx.publish(_Happened("k"))
    assert await _counts(stores) == (0, 0)


async def test_a_failed_transaction_says_so(stores: Stores) -> None:
    """An error was caught inside its block: the server refuses what is staged, and the COMMIT."""
    with pytest.raises(DatabaseError, match="a statement of the transaction had failed"):
        async with Transactions(ServiceContext("folded", stores)).begin() as tx:
            with contextlib.suppress(DatabaseError):
                await tx.sql.execute("SELECT 1 / 0")
            tx.publish(_Happened("k"))
    assert await _counts(stores) == (0, 0)


async def test_after_a_rolled_back_savepoint(stores: Stores) -> None:
    async with Transactions(ServiceContext("folded", stores)).begin() as tx:
        await tx.sql.execute(_ROW, (1,))
        tx.publish(_Happened("before"))
        await tx.sql.execute("SAVEPOINT inside")
        tx.publish(_Happened("inside"))
        await tx.sql.execute("ROLLBACK TO SAVEPOINT inside")
        await tx.sql.execute("SAVEPOINT left_open")
    assert await _counts(stores) == (1, 1)


async def test_a_lost_answer_is_unknown_and_all_of_it_happened(postgres_url: str, stores: Stores) -> None:
    async with TcpProxy.before(postgres_url) as proxy:
        proxied = open_stores(through(proxy, postgres_url))
        await proxied.database.open()
        lose_commits(proxy)
        with pytest.raises(Unavailable, match="outcome is not known"):
            await _work(proxied, 1)
        await proxied.database.close()
    assert await _counts(stores) == (1, 1)


async def test_a_connection_that_ends_meanwhile_is_unknown(stores: Stores) -> None:
    """The server ends the session while it waits for the lock of the key. Nothing happened, but that is not known."""
    async with stores.database.begin() as holder:
        await stores[OUTBOX].stage(holder, [outgoing("k")])
        work = asyncio.create_task(_work(stores, 1))
        ended = False
        async with asyncio.timeout(60):
            while not ended:
                rows = await holder.sql.fetch(  # type: ignore[attr-defined]  # the adapter's transaction has it
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND wait_event_type = 'Lock'"
                )
                ended = bool(rows) or work.done()
        with pytest.raises((Unavailable, ConcurrencyConflict)):
            await work
    assert await _counts(stores) == (0, 1)
    await _work(stores, 1)


async def test_a_cancellation_at_any_point_leaves_all_or_nothing(stores: Stores) -> None:
    """After each number of turns of the event loop; the next caller finds a connection like a new one."""
    rows = 0
    for turns in range(60):
        task = asyncio.create_task(_work(stores, turns))
        for _ in range(turns):
            await asyncio.sleep(0)  # one turn of the loop
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        rows, messages = await _counts(stores)
        assert rows == messages
    await _work(stores, 1000)
    assert await _counts(stores) == (rows + 1, rows + 1)


async def test_no_document_is_told_when_a_constraint_fails(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    """Neither as text nor as digits, in the error and all its causes; asyncpg keeps the text of a statement there."""
    async with stores[SQL].direct() as sql:
        await sql.execute("ALTER TABLE freehold_outbox ADD CONSTRAINT none EXCLUDE (topic WITH =)")
    await _work(stores, 1, "first")
    with caplog.at_level(logging.DEBUG), pytest.raises(DatabaseError) as caught:
        await _work(stores, 2, _SECRET)
    told = _told(caught.value) + caplog.text
    assert "none" in str(caught.value)
    assert _SECRET not in told
    assert _SECRET.encode().hex() not in told


async def test_no_document_is_told_when_the_text_is_wrong(
    stores: Stores, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.adapters.postgres.stage._ONE", "no such function")
    with caplog.at_level(logging.DEBUG), pytest.raises(FreeholdError) as caught:
        await _work(stores, 1, _SECRET)
    told = _told(caught.value) + caplog.text
    assert _SECRET not in told
    assert _SECRET.encode().hex() not in told
    assert await _counts(stores) == (0, 0)


async def test_messages_that_cannot_be_stored_are_refused_as_before(postgres_url: str) -> None:
    """The statement with parameters says so: a text that is no literal is not written into one."""
    refused: list[str] = []
    for way in ("on", "off"):
        stores = await _opened(f"{postgres_url}?stage_with_commit={way}")
        for topic in ("a\x00b", "\ud800"):
            with pytest.raises(FreeholdError) as caught:
                async with stores.database.begin() as db_tx:
                    await stores[OUTBOX].stage_last(db_tx, [replace(outgoing("k"), topic=topic)])
            refused.append(f"{type(caught.value).__name__}: {caught.value}")
        await stores.database.close()
    assert refused[:2] == refused[2:]
