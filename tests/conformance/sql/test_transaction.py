from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.transaction import TransactionConformance


class TestTransactionOnSqlite(OnSqlite, TransactionConformance):
    pass


class TestTransactionOnPostgres(OnPostgres, TransactionConformance):
    pass


class TestTransactionOnMariaDb(OnMariaDb, TransactionConformance):
    pass
