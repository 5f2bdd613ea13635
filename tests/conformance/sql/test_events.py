from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.events import EventStoreConformance


class TestEventStoreOnSqlite(OnSqlite, EventStoreConformance):
    pass


class TestEventStoreOnPostgres(OnPostgres, EventStoreConformance):
    pass


class TestEventStoreOnMariaDb(OnMariaDb, EventStoreConformance):
    pass
