from __future__ import annotations

from tests.conformance.engines import OnPostgres, OnSqlite

from freehold.conformance.idempotency import IdempotencyStoreConformance


class TestIdempotencyStoreOnSqlite(OnSqlite, IdempotencyStoreConformance):
    pass


class TestIdempotencyStoreOnPostgres(OnPostgres, IdempotencyStoreConformance):
    pass
