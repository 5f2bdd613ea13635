from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.logs import BrokerLogStoreConformance


class TestBrokerLogStoreOnMemory(OnMemory, BrokerLogStoreConformance):
    pass
