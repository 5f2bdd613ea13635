from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.leases import LeaseStoreConformance


class TestLeaseStoreOnSqlite(OnSqlite, LeaseStoreConformance):
    pass


class TestLeaseStoreOnPostgres(OnPostgres, LeaseStoreConformance):
    pass
