from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.transaction import TransactionConformance


class TestTransactionOnSqlite(OnSqlite, TransactionConformance):
    pass


class TestTransactionOnPostgres(OnPostgres, TransactionConformance):
    pass
