"""A connection that was opened while the database was read-only stays so: it is not used for longer than that."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import sql
from tests.integration.health.conditions import CONDITIONS

from freehold.conformance.outbox import outgoing
from freehold.database import DatabaseOptions
from freehold.errors import Unavailable
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores
from freehold.runtime.adapters import open_stores
from freehold.sql import SQL

_ONE = DatabaseOptions(pool_size=1)


@contextlib.contextmanager
def _read_only_sessions(url: str) -> Iterator[None]:
    """As a server does whose administrator makes new sessions read-only; an old session does not notice the end."""
    name = sql.Identifier(url.rpartition("/")[2])
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        yield
        admin.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


_TABLE = [
    pytest.param("disk", CONDITIONS["read-only disk"][1], id="sqlite"),
    pytest.param("postgres", _read_only_sessions, id="postgresql", marks=pytest.mark.servers),
]


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Stores]:
    stores = open_stores(url, _ONE)
    await stores.database.open()
    try:
        yield stores
    finally:
        await stores.database.close()


async def _write(stores: Stores, how: str) -> None:
    match how:
        case "transaction":
            async with stores.database.begin() as db_tx:
                await stores[OUTBOX].stage(db_tx, [outgoing("k")])
        case "statement":
            async with stores[SQL].direct() as direct:
                await direct.execute("UPDATE freehold_meta SET value = value")
        case _:
            await stores.database.probe(5.0)


@pytest.mark.parametrize("how", ["transaction", "statement", "probe"])
@pytest.mark.parametrize(("condition_url", "read_only"), _TABLE, indirect=["condition_url"])
async def test_it_fails_once_at_most_when_that_is_over(
    condition_url: str, read_only: Callable[[str], contextlib.AbstractContextManager[None]], how: str
) -> None:
    async with _opened(condition_url) as first:
        await first.database.upgrade()
        with contextlib.ExitStack() as condition:
            condition.enter_context(read_only(condition_url))
            async with _opened(condition_url) as stores:
                await stores[OUTBOX].stats()
                condition.close()
                with contextlib.suppress(Unavailable):
                    await _write(stores, how)
                await _write(stores, how)
