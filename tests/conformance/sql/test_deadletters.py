from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.deadletters import DeadLetterStoreConformance


class TestDeadLetterStoreOnSqlite(OnSqlite, DeadLetterStoreConformance):
    pass


class TestDeadLetterStoreOnPostgres(OnPostgres, DeadLetterStoreConformance):
    pass


class TestDeadLetterStoreOnMariaDb(OnMariaDb, DeadLetterStoreConformance):
    pass
