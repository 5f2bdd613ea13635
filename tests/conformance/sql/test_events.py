from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.events import EventStoreConformance


class TestEventStoreOnSqlite(OnSqlite, EventStoreConformance):
    pass


class TestEventStoreOnPostgres(OnPostgres, EventStoreConformance):
    pass
