"""Behind a real PgBouncer: named where it is not expected, and of no effect where it is."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from tests.integration.projection.models import Deposited, append, caught_up, read_model, rows, until

from freehold import RunningService, Settings
from freehold.database import DatabaseOptions
from freehold.errors import ConfigurationError
from freehold.inbox.store import INBOX, IncomingMessage
from freehold.outbox.store import OUTBOX
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL
from freehold_shop.servers import start_pgbouncer

pytestmark = pytest.mark.servers
_PATIENT = DatabaseOptions(pool_size=3, connect_timeout_seconds=60.0, pool_timeout_seconds=60.0)


async def test_a_pgbouncer_that_is_not_expected_is_named(pgbouncer_url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await open_stores(pgbouncer_url).database.open()
    assert "PgBouncer" in caught.value.hint
    assert "?statement_cache_size=0" in caught.value.hint


async def test_one_that_drops_the_time_limits_without_a_word_is_named_too(
    postgres_url: str, servers_directory: Path
) -> None:
    dropped = "statement_timeout,lock_timeout,idle_in_transaction_session_timeout"
    place = servers_directory / f"pgbouncer-{uuid4().hex[:8]}"
    with start_pgbouncer(place, postgres_url, settings={"ignore_startup_parameters": dropped}) as proxy:
        with pytest.raises(ConfigurationError, match="time limits") as caught:
            await open_stores(proxy.url).database.open()
        assert "PgBouncer" in caught.value.hint


async def test_prepared_statements_that_are_lost_name_it(postgres_url: str) -> None:
    """What a user's own engine, made without `statement_cache_size=0`, gets from PgBouncer as soon as two are at it."""
    database = open_stores(postgres_url).database
    connection = await asyncpg.connect(postgres_url)
    try:
        for statement in ("EXECUTE nothing", "PREPARE twice AS SELECT 1; PREPARE twice AS SELECT 1"):
            with pytest.raises(asyncpg.PostgresError) as caught:
                await connection.execute(statement)
            known = database.translate_error(caught.value)
            assert isinstance(known, ConfigurationError)
            assert "PgBouncer" in known.hint
            assert "?statement_cache_size=0" in known.hint
    finally:
        await connection.close()


async def test_many_connect_and_work_at_once(pgbouncer_url: str) -> None:
    """More connections than PgBouncer has to the server, in transactions and statement by statement."""
    url = f"{pgbouncer_url}?statement_cache_size=0"

    async def work() -> int:
        stores = open_stores(url, _PATIENT)
        await stores.database.open()
        try:
            async with stores.database.begin() as db_tx:
                limits = await db_tx.native.exec_driver_sql("SELECT current_setting('statement_timeout')")
                assert limits.scalar_one() == "15s"
            async with stores[SQL].direct() as sql:
                return int((await sql.fetch("SELECT $1::integer", (7,)))[0][0])
        finally:
            await stores.database.close()

    assert await asyncio.gather(*(work() for _ in range(12))) == [7] * 12


async def test_what_a_users_session_publishes_through_it_shares_its_fate(pgbouncer_url: str) -> None:
    stores = open_stores(f"{pgbouncer_url}?statement_cache_size=0")
    await stores.database.open()
    await stores.database.upgrade()
    engine = create_async_engine(
        pgbouncer_url.replace("postgresql:", "postgresql+asyncpg:"),
        connect_args={"statement_cache_size": 0, "prepared_statement_name_func": str},
    )
    try:
        for kept in (True, False):
            async with engine.connect() as connection:
                transaction = await connection.begin()
                db_tx = stores.database.enlist(connection)
                (receipt,) = await stores[INBOX].receive(db_tx, "reader", [_arrival("m-1")])
                assert receipt.status.name == ("NEW" if kept else "DUPLICATE")
                (receipt,) = await stores[INBOX].receive(db_tx, "reader", [_arrival(f"only {kept}")])
                await (transaction.commit() if kept else transaction.rollback())
        async with stores[SQL].direct() as sql:
            keys = [row[0] for row in await sql.fetch("SELECT receipt_key FROM freehold_inbox ORDER BY receipt_key")]
        assert keys == ["m-1", "only True"]
    finally:
        await engine.dispose()
        await stores.database.close()


async def test_a_service_runs_its_projections_and_its_relay_through_it(pgbouncer_url: str, tmp_path: Path) -> None:
    """Read models are made, switched and read, and what is published is relayed."""
    model = read_model()
    settings = Settings.load(
        model.service.name,
        environ={},
        database=f"{pgbouncer_url}?statement_cache_size=0",
        broker=f"embedded:///{tmp_path}/broker.db",
    )
    async with RunningService(model.service, settings, roles=("projections", "relay", "schedule", "prune")) as running:
        for amount in range(1, 6):
            await append(running, "a", amount)
        async with running.transaction() as tx:
            tx.publish(Deposited("a", 1))
        await until(partial(caught_up, running, model))
        assert await rows(running, model.accounts) == [("a", 15, 5, 5)]
        await until(partial(_is_relayed, running))


async def _is_relayed(running: RunningService) -> bool:
    return (await running.stores[OUTBOX].stats()).pending == 0


def _arrival(key: str) -> IncomingMessage:
    return IncomingMessage(receipt_key=key, topic="t", key="k")
