from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.database import DatabaseConformance


class TestDatabaseOnSqlite(OnSqlite, DatabaseConformance):
    pass


class TestDatabaseOnPostgres(OnPostgres, DatabaseConformance):
    pass


class TestDatabaseOnMariaDb(OnMariaDb, DatabaseConformance):
    pass
