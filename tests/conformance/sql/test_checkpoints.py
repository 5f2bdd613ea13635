from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.checkpoints import CheckpointStoreConformance


class TestCheckpointStoreOnSqlite(OnSqlite, CheckpointStoreConformance):
    pass


class TestCheckpointStoreOnPostgres(OnPostgres, CheckpointStoreConformance):
    pass


class TestCheckpointStoreOnMariaDb(OnMariaDb, CheckpointStoreConformance):
    pass
