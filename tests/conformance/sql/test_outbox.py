from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.outbox import OutboxStoreConformance


class TestOutboxStoreOnSqlite(OnSqlite, OutboxStoreConformance):
    pass


class TestOutboxStoreOnPostgres(OnPostgres, OutboxStoreConformance):
    pass


class TestOutboxStoreOnMariaDb(OnMariaDb, OutboxStoreConformance):
    pass
