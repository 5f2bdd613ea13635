from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.snapshots import SnapshotStoreConformance


class TestSnapshotStoreOnSqlite(OnSqlite, SnapshotStoreConformance):
    pass


class TestSnapshotStoreOnPostgres(OnPostgres, SnapshotStoreConformance):
    pass


class TestSnapshotStoreOnMariaDb(OnMariaDb, SnapshotStoreConformance):
    pass
