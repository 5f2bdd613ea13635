from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.outbox import OutboxStoreConformance


class TestOutboxStoreOnMemory(OnMemory, OutboxStoreConformance):
    pass
