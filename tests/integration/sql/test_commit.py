"""The answer to COMMIT is lost, and a proxy that keeps no prepared statements, over real sockets."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.integration.sql.proxied import lose_commits, through

from freehold.conformance.outbox import outgoing, take_partitions
from freehold.errors import Unavailable
from freehold.outbox.store import OUTBOX
from freehold.runtime.adapters import open_stores
from freehold.testing import TcpProxy

pytestmark = pytest.mark.servers


async def test_a_lost_answer_to_commit_is_unknown_and_not_a_rollback(postgres_url: str) -> None:
    stores = open_stores(postgres_url)
    await stores.database.open()
    await stores.database.upgrade()
    async with TcpProxy.before(postgres_url) as proxy:
        proxied = open_stores(through(proxy, postgres_url))
        await proxied.database.open()
        lose_commits(proxy)
        with pytest.raises(Unavailable, match="outcome is not known"):
            async with proxied.database.begin() as db_tx:
                await proxied[OUTBOX].stage(db_tx, [outgoing("k")])
        await proxied.database.close()
    assert (await stores[OUTBOX].stats()).pending == 1
    await stores.database.close()


async def test_without_prepared_statements(postgres_url: str) -> None:
    stores = open_stores(f"{postgres_url}?statement_cache_size=0")
    await stores.database.open()
    await stores.database.upgrade()
    for _ in range(2):
        async with stores.database.begin() as db_tx:
            await db_tx.native.execute(sa.text("SELECT :n + 1"), {"n": 1})
            await stores[OUTBOX].stage(db_tx, [outgoing("k")])
            prepared = await db_tx.native.execute(sa.text("SELECT count(*) FROM pg_prepared_statements"))
            assert prepared.scalar_one() == 0
    leases = await take_partitions(stores)
    rows = (await stores[OUTBOX].fetch(leases, 10)).rows
    assert await stores[OUTBOX].remove(leases, rows) == 2
    await stores.database.close()
