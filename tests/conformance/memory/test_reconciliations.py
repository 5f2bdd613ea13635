from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.reconciliations import ReconciliationStoreConformance


class TestReconciliationStoreOnMemory(OnMemory, ReconciliationStoreConformance):
    pass
