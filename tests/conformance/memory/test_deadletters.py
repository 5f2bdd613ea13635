from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.deadletters import DeadLetterStoreConformance


class TestDeadLetterStoreOnMemory(OnMemory, DeadLetterStoreConformance):
    pass
