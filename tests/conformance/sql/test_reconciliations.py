from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.reconciliations import ReconciliationStoreConformance


class TestReconciliationStoreOnSqlite(OnSqlite, ReconciliationStoreConformance):
    pass


class TestReconciliationStoreOnPostgres(OnPostgres, ReconciliationStoreConformance):
    pass
