from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.inbox import InboxStoreConformance


class TestInboxStoreOnSqlite(OnSqlite, InboxStoreConformance):
    pass


class TestInboxStoreOnPostgres(OnPostgres, InboxStoreConformance):
    pass
