from __future__ import annotations

from tests.conformance.engines import OnMemory

from freehold.conformance.inbox import InboxStoreConformance


class TestInboxStoreOnMemory(OnMemory, InboxStoreConformance):
    pass
