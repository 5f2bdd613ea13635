from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from hypothesis import settings
from tests.conformance.inbox_machine import InboxMachine

from freehold.conformance.harness import StoresHarness


class MemoryInboxMachine(InboxMachine):
    def open(self) -> AbstractAsyncContextManager[StoresHarness]:
        return StoresHarness.on("memory://")


TestInboxAgreesWithItsModelOnMemory = MemoryInboxMachine.TestCase
TestInboxAgreesWithItsModelOnMemory.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
