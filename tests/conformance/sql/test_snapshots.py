from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.snapshots import SnapshotStoreConformance


class TestSnapshotStoreOnSqlite(OnSqlite, SnapshotStoreConformance):
    pass


class TestSnapshotStoreOnPostgres(OnPostgres, SnapshotStoreConformance):
    pass
