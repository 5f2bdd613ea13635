from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.saga import SagaStoreConformance


class TestSagaStoreOnMemory(OnMemory, SagaStoreConformance):
    pass
