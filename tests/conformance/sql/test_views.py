from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.views import ViewStoreConformance


class TestViewStoreOnSqlite(OnSqlite, ViewStoreConformance):
    pass


class TestViewStoreOnPostgres(OnPostgres, ViewStoreConformance):
    pass


class TestViewStoreOnMariaDb(OnMariaDb, ViewStoreConformance):
    pass
