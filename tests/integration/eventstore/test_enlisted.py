"""Appending in a transaction that belongs to the user, by every driver, beside the user's own table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.eventstore.opened import opened
from tests.integration.sql.test_enlist import POSTGRES, SQLITE, Opener

from freehold.adapters.sql.engine.connection import sql_of
from freehold.conformance.events_order import data_of, follow, new_event
from freehold.conformance.outbox import outgoing
from freehold.errors import ConcurrencyConflict
from freehold.eventstore.store import EVENTS, Append
from freehold.ids import new_id
from freehold.outbox.store import OUTBOX
from freehold.ports import Stores


async def _check(stores: Stores, url: str, opener: Opener) -> None:
    async with stores.database.begin() as db_tx:
        await db_tx.native.execute(sa.text("CREATE TABLE own (n integer)"))

    async def work(native: Any) -> None:
        db_tx = stores.database.enlist(native)
        await sql_of(db_tx).execute("INSERT INTO own VALUES (1)")
        assert await stores[EVENTS].version("order-1", db_tx=db_tx) == 0
        appends = [Append("order-1", [new_event(b"\x00\xff"), new_event(b"2")], 0), Append("cart-1", [new_event(b"3")])]
        first, second = await stores[EVENTS].append(db_tx, appends)
        assert (first.version, second.version) == (2, 1)
        await stores[OUTBOX].stage(db_tx, [outgoing("k")])
        assert data_of(await stores[EVENTS].read_stream("order-1", db_tx=db_tx)) == [b"\x00\xff", b"2"]

    async with opener(url) as (native, _, rollback):
        await work(native)
        await rollback()
    assert await _counts(stores) == (0, 0, 0)
    async with opener(url) as (native, commit, _):
        await work(native)
        await commit()
    assert await _counts(stores) == (1, 3, 1)
    async with opener(url) as (native, _, rollback):
        with pytest.raises(ConcurrencyConflict, match="'order-1' is at version 2, where 1 was expected"):
            await stores[EVENTS].append(stores.database.enlist(native), [Append("order-1", [new_event()], 1)])
        await rollback()
    (first, second, third) = await follow(stores)
    assert (first.event.data, second.event.data, third.event.data) == (b"\x00\xff", b"2", b"3")
    assert type(first.event.id) is type(new_id())


async def _counts(stores: Stores) -> tuple[int, int, int]:
    """Rows in the user's table, events, staged messages."""
    async with stores.database.begin() as db_tx:
        own = (await sql_of(db_tx).fetch("SELECT count(*) FROM own"))[0][0]
    return own, len(await follow(stores)), (await stores[OUTBOX].stats()).pending


@pytest.mark.servers
@pytest.mark.parametrize("how", POSTGRES)
async def test_postgres(postgres_url: str, how: str) -> None:
    async with opened(postgres_url) as stores:
        await _check(stores, postgres_url, POSTGRES[how])


@pytest.mark.parametrize("how", SQLITE)
async def test_sqlite(tmp_path: Path, how: str) -> None:
    url = f"sqlite:///{tmp_path}/service.db"
    async with opened(url) as stores:
        await _check(stores, url, SQLITE[how])
