from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.logs import BrokerLogStoreConformance


class TestBrokerLogStoreOnSqlite(OnSqlite, BrokerLogStoreConformance):
    pass


class TestBrokerLogStoreOnPostgres(OnPostgres, BrokerLogStoreConformance):
    pass


class TestBrokerLogStoreOnMariaDb(OnMariaDb, BrokerLogStoreConformance):
    pass
