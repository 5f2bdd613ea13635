from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.deadletters import DeadLetterStoreConformance


class TestDeadLetterStoreOnSqlite(OnSqlite, DeadLetterStoreConformance):
    pass


class TestDeadLetterStoreOnPostgres(OnPostgres, DeadLetterStoreConformance):
    pass
