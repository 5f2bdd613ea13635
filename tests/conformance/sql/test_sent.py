from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.sent import SentStoreConformance


class TestSentStoreOnSqlite(OnSqlite, SentStoreConformance):
    pass


class TestSentStoreOnPostgres(OnPostgres, SentStoreConformance):
    pass


class TestSentStoreOnMariaDb(OnMariaDb, SentStoreConformance):
    pass
