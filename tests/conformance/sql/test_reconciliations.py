from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.reconciliations import ReconciliationStoreConformance


class TestReconciliationStoreOnSqlite(OnSqlite, ReconciliationStoreConformance):
    pass


class TestReconciliationStoreOnPostgres(OnPostgres, ReconciliationStoreConformance):
    pass


class TestReconciliationStoreOnMariaDb(OnMariaDb, ReconciliationStoreConformance):
    pass
