from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.events import EventStoreConformance


class TestEventStoreOnMemory(OnMemory, EventStoreConformance):
    pass
