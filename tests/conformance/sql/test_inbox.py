from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.deferred import claim, defer, message
from freehold.conformance.harness import StoresHarness
from freehold.conformance.inbox import InboxStoreConformance
from freehold.inbox.store import INBOX
from freehold.sql import sql_of


class _OnSql(InboxStoreConformance):
    async def test_one_whose_predecessor_was_deleted_by_hand_is_woken(self, harness: StoresHarness) -> None:
        stores = harness.first
        for number in range(3):
            await defer(stores, message(f"m{number}"), delay_seconds=600.0 if number == 0 else 0.0)
        assert await claim(stores) == []
        async with stores.database.begin() as db_tx:
            statement = "DELETE FROM freehold_deferred WHERE receipt_key = $1"
            await sql_of(db_tx).execute(statement, ("m0",))
        await stores[INBOX].prune("orders", 60.0, 10)
        assert [each.receipt_key for each in await claim(stores)] == ["m1"]


class TestInboxStoreOnSqlite(OnSqlite, _OnSql):
    pass


class TestInboxStoreOnPostgres(OnPostgres, _OnSql):
    pass


class TestInboxStoreOnMariaDb(OnMariaDb, _OnSql):
    pass
