from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.audit import AuditStoreConformance


class TestAuditStoreOnSqlite(OnSqlite, AuditStoreConformance):
    pass


class TestAuditStoreOnPostgres(OnPostgres, AuditStoreConformance):
    pass


class TestAuditStoreOnMariaDb(OnMariaDb, AuditStoreConformance):
    pass
