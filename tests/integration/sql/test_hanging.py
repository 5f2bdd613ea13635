"""Calls that are cancelled while the server does not answer leave no connection in the pool that hangs for the next."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.integration.sql.proxied import stall, through

from freehold.adapters.sql.engine.connection import sql_of
from freehold.database import DatabaseOptions
from freehold.errors import OperationTimeout
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL
from freehold.testing import TcpProxy

pytestmark = pytest.mark.servers

_STATEMENT_SECONDS = 120.0
_OPTIONS = DatabaseOptions(pool_size=2, statement_timeout_seconds=_STATEMENT_SECONDS)
_FAR_LESS_SECONDS = 30.0
"""Than the limit of a statement; more than anything here takes on a busy machine."""


async def _answers(stores: Stores) -> None:
    async with stores[SQL].direct() as sql:
        assert [tuple(row) for row in await sql.fetch("SELECT 1")] == [(1,)]


@pytest.mark.parametrize("how", ["", "&statement_cache_size=0"], ids=["sessions", "behind-a-proxy"])
async def test_a_read_that_was_cut_leaves_no_connection_that_hangs(postgres_url: str, how: str) -> None:
    async with TcpProxy.before(postgres_url) as proxy:
        stores = open_stores(through(proxy, postgres_url) + how, _OPTIONS)
        await stores.database.open()
        await _answers(stores)
        stall(proxy)
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await _answers(stores)
        with pytest.raises(OperationTimeout):
            await stores.database.ping(0.2)
        proxy.heal()
        for _ in range(4):
            await _answers(stores)
            async with stores.database.begin():
                await _answers(stores)
        assert time.monotonic() - begun < _FAR_LESS_SECONDS
        await stores.database.close()


@pytest.mark.parametrize("begun", [False, True], ids=["at-begin", "inside"])
async def test_a_transaction_that_was_cut_leaves_no_connection_that_hangs(postgres_url: str, begun: bool) -> None:
    async with TcpProxy.before(postgres_url) as proxy:
        stores = open_stores(through(proxy, postgres_url), _OPTIONS)
        await stores.database.open()
        started = time.monotonic()
        if not begun:
            stall(proxy)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0), stores.database.begin() as db_tx:
                stall(proxy)
                await sql_of(db_tx).fetch("SELECT 1")
        proxy.heal()
        for _ in range(2):
            async with stores.database.begin():
                await _answers(stores)
        assert time.monotonic() - started < _FAR_LESS_SECONDS
        await stores.database.close()
