from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.idempotency import IdempotencyStoreConformance


class TestIdempotencyStoreOnMemory(OnMemory, IdempotencyStoreConformance):
    pass
