from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.sent import SentStoreConformance


class TestSentStoreOnSqlite(OnSqlite, SentStoreConformance):
    pass


class TestSentStoreOnPostgres(OnPostgres, SentStoreConformance):
    pass
