from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.outbox import OutboxStoreConformance


class TestOutboxStoreOnSqlite(OnSqlite, OutboxStoreConformance):
    pass


class TestOutboxStoreOnPostgres(OnPostgres, OutboxStoreConformance):
    pass
