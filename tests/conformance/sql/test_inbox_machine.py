from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from tempfile import TemporaryDirectory

from hypothesis import settings
from tests.conformance.inbox_machine import InboxMachine

from freehold.conformance.harness import StoresHarness


class SqliteInboxMachine(InboxMachine):
    def open(self) -> AbstractAsyncContextManager[StoresHarness]:
        return _fresh_file()


@asynccontextmanager
async def _fresh_file() -> AsyncIterator[StoresHarness]:
    with TemporaryDirectory() as directory:
        async with StoresHarness.on(f"sqlite:///{directory}/service.db?synchronous=normal") as harness:
            yield harness


TestInboxAgreesWithItsModelOnSqlite = SqliteInboxMachine.TestCase
TestInboxAgreesWithItsModelOnSqlite.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
