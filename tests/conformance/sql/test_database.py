from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.database import DatabaseConformance


class TestDatabaseOnSqlite(OnSqlite, DatabaseConformance):
    pass


class TestDatabaseOnPostgres(OnPostgres, DatabaseConformance):
    pass
