from __future__ import annotations

from tests.conformance.engines import OnMariaDb, OnPostgres, OnSqlite

from freehold.conformance.idempotency import IdempotencyStoreConformance


class TestIdempotencyStoreOnSqlite(OnSqlite, IdempotencyStoreConformance):
    pass


class TestIdempotencyStoreOnPostgres(OnPostgres, IdempotencyStoreConformance):
    pass


class TestIdempotencyStoreOnMariaDb(OnMariaDb, IdempotencyStoreConformance):
    pass
