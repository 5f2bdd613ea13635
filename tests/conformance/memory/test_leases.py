from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.leases import LeaseStoreConformance


class TestLeaseStoreOnMemory(OnMemory, LeaseStoreConformance):
    pass
