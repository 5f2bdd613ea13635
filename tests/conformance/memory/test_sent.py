from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.sent import SentStoreConformance


class TestSentStoreOnMemory(OnMemory, SentStoreConformance):
    pass
