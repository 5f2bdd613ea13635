from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.audit import AuditStoreConformance


class TestAuditStoreOnMemory(OnMemory, AuditStoreConformance):
    pass
