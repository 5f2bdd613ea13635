from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPgbouncer, OnPostgres, OnSqlite

from freehold.conformance.sql import SqlConformance


class TestSqlOnSqlite(OnSqlite, SqlConformance):
    pass


class TestSqlOnPostgres(OnPostgres, SqlConformance):
    pass


class TestSqlOnPgbouncer(OnPgbouncer, SqlConformance):
    pass


class TestSqlOnMariaDb(OnMariaDb, SqlConformance):
    pass
