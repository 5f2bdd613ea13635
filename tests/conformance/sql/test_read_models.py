from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.read_models import ReadModelStoreConformance


class TestReadModelStoreOnSqlite(OnSqlite, ReadModelStoreConformance):
    pass


class TestReadModelStoreOnPostgres(OnPostgres, ReadModelStoreConformance):
    pass


class TestReadModelStoreOnMariaDb(OnMariaDb, ReadModelStoreConformance):
    pass
