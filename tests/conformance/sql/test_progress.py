from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.progress import ProgressStoreConformance


class TestProgressStoreOnSqlite(OnSqlite, ProgressStoreConformance):
    pass


class TestProgressStoreOnPostgres(OnPostgres, ProgressStoreConformance):
    pass


class TestProgressStoreOnMariaDb(OnMariaDb, ProgressStoreConformance):
    pass
