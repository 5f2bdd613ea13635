from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.logs import BrokerLogStoreConformance


class TestBrokerLogStoreOnSqlite(OnSqlite, BrokerLogStoreConformance):
    pass


class TestBrokerLogStoreOnPostgres(OnPostgres, BrokerLogStoreConformance):
    pass
