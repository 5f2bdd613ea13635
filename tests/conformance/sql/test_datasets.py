from __future__ import annotations

from tests.conformance.engines import OnMariaDbByBytes, OnPostgres, OnSqlite

from freehold.conformance.datasets import DatasetStoreConformance


class TestDatasetStoreOnSqlite(OnSqlite, DatasetStoreConformance):
    pass


class TestDatasetStoreOnPostgres(OnPostgres, DatasetStoreConformance):
    pass


class TestDatasetStoreOnMariaDb(OnMariaDbByBytes, DatasetStoreConformance):
    pass
