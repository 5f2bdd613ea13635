from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.replays import ReplayStoreConformance


class TestReplayStoreOnSqlite(OnSqlite, ReplayStoreConformance):
    pass


class TestReplayStoreOnPostgres(OnPostgres, ReplayStoreConformance):
    pass


class TestReplayStoreOnMariaDb(OnMariaDb, ReplayStoreConformance):
    pass
