from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.leases import LeaseStoreConformance
from freehold.conformance.vouch import VouchingConformance


class TestLeaseStoreOnSqlite(OnSqlite, LeaseStoreConformance):
    pass


class TestLeaseStoreOnPostgres(OnPostgres, LeaseStoreConformance):
    pass


class TestVouchingOnSqlite(OnSqlite, VouchingConformance):
    pass


class TestVouchingOnPostgres(OnPostgres, VouchingConformance):
    pass


class TestLeaseStoreOnMariaDb(OnMariaDb, LeaseStoreConformance):
    pass
