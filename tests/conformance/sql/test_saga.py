from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.saga import SagaStoreConformance


class TestSagaStoreOnSqlite(OnSqlite, SagaStoreConformance):
    pass


class TestSagaStoreOnPostgres(OnPostgres, SagaStoreConformance):
    pass


class TestSagaStoreOnMariaDb(OnMariaDb, SagaStoreConformance):
    pass
